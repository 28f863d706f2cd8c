-- What an unsubscribe link leads to.

-- name: find_recipient
-- The address that a message went to, as it was then: the contact may be gone.
select to_address from outbound_messages
where tenant_id = %(tenant_id)s::uuid and id = %(message_id)s::uuid;
