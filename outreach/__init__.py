"""Outreach: email campaigns for many tenants out of one PostgreSQL database."""

__version__ = "0.1.0"
