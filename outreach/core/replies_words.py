"""The words of absence and of unsubscribing, in English, German, French and Spanish.

A sentence that asks to be left alone counts wherever it stands in what the writer wrote; a bare
word such as `stop` only where it is all that the mail says. Who says the opposite is no request.
"""

from __future__ import annotations

import re

SHORT_LENGTH_MAX = 60

_AWAY_SUBJECT = re.compile(
    r"^(?:automatic reply|auto(?:matic)?[ -]?(?:reply|response)|out of (?:the )?office|ooo\b"
    r"|(?:i am |i'm )?away from (?:the |my )?(?:office|desk)|on (?:vacation|holiday|leave)"
    r"|automatische antwort|abwesenheit|abwesend|außer haus|im urlaub"
    r"|r[ée]ponse automatique|absence|absent|en cong[ée]|message d['’]absence"
    r"|respuesta autom[áa]tica|fuera de la oficina|ausencia|ausente|de vacaciones)",
    re.IGNORECASE,
)
_AWAY_TEXT = re.compile(
    r"\bout of (?:the )?office\b|\bon (?:annual|parental|maternity|paternity|sick) leave\b"
    r"|\b(?:i am|i'm|i will be|i'll be) (?:currently )?"
    r"(?:away|on (?:vacation|holiday|leave)|travell?ing)"
    r"|\blimited access to (?:my )?e-?mail|\bback in the office\b|\bwill return on\b"
    r"|\b(?:bin|werde) (?:ich )?(?:derzeit |zurzeit |momentan |aktuell |bis .{3,40} )?"
    r"(?:nicht im (?:büro|haus)|im urlaub|abwesend|außer haus)"
    r"|\bnicht im (?:büro|haus)\b|\bwieder (?:im büro|erreichbar|für sie da)\b"
    r"|\bab(?:wesend|wesenheit)\b"
    r"|\bje suis (?:actuellement )?(?:absente?|en cong[ée]s?|en d[ée]placement)"
    r"|\bde retour (?:au bureau )?le\b|\babsente?(?: du bureau)?\b.{0,40}\bjusqu['’]au\b"
    r"|\bestoy (?:actualmente )?(?:fuera|ausente|de vacaciones)|\bfuera de la oficina\b"
    r"|\bestar[ée] (?:fuera|ausente|de vacaciones)|\bregres(?:o|ar[ée]) el\b|\bvolver[ée] el\b",
    re.IGNORECASE,
)
_LEAVE_ME = re.compile(
    r"\bunsubscribe (?:me|us|my|this)\b"
    r"|\b(?:remove|delete|take) (?:me|us|my (?:e-?mail|address|name))"
    r".{0,40}\b(?:list|database|mailing|records|crm|sequence)|\btake (?:me|us) off\b"
    r"|\bremove me\b(?=\W*(?:please|thanks|thank you|now|immediately|$))"
    r"|\b(?:stop|quit|cease) (?:e-?mailing|contacting|writing|messaging|spamming|sending)\b"
    r"|\b(?:do not|don['’]t|never) (?:e-?mail|contact|write|message)(?: to)? (?:me|us)\b"
    r"|\bno (?:more|further) e-?mails?\b"
    r"|\b(?:want|wish|like) to (?:unsubscribe|opt out|be removed)\b"
    r"|\bopt me out\b|\bplease unsubscribe\b"
    r"|\baus (?:ihrem|dem|ihrer|der|eurem) (?:verteiler|mailing-?liste|liste|datenbank)\b"
    r"|\bkeine (?:weiteren |mehr )?(?:e-?mails?|nachrichten|werbung|mails)\b(?: mehr)?"
    r"|\b(?:bitte|möchte) .{0,30}\b(?:abmelden|austragen|abbestellen)\b"
    r"|\bnicht mehr (?:anschreiben|kontaktieren)\b"
    r"|\b(?:me|nous) d[ée](?:sabonner|sinscrire)\b|\bd[ée](?:sabonnez|sinscrivez)[- ](?:moi|nous)\b"
    r"|\bne (?:plus|pas) (?:me |nous )?(?:contacter|[ée]crire|envoyer|recevoir)\b"
    r"|\b(?:me|nous) (?:retirer|supprimer|enlever) de\b"
    r"|\b(?:retirez|supprimez|enlevez)[- ](?:moi|nous)\b"
    r"|\bne (?:souhaite|veux|d[ée]sire) plus\b"
    r"|\b(?:dar|darme|denme|dadme|d[ée]me) de baja\b|\bno (?:deseo|quiero) recibir\b"
    r"|\bno me (?:env[ií]e[ns]?|escriba[ns]?|contacte[ns]?|mande[ns]?)\b"
    r"|\b(?:b[óo]rr|elim[ií]n)(?:e|a|en)?me de\b|\bcancelar (?:la|mi) suscripci[óo]n\b"
    r"|\bdejen? de (?:enviar|escribir|contactar)",
    re.IGNORECASE,
)
_OPPOSITE = re.compile(
    r"\b(?:do not|don['’]t|didn['’]t|not|never)\b(?: want to| wish to| like to)? ?(?:please )?$"
    r"|\b(?:nicht|niemals) $|\bne pas $",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"\W*(?:(?:please|bitte|s['’]il vous pla[îi]t|svp|por favor)\W+)?"
    r"(?:unsubscribe|un-subscribe|stop|stopp|opt[ -]?out|remove(?: me)?"
    r"|abmelden|abbestellen|austragen"
    r"|abmeldung|d[ée]sabonner|d[ée]sabonnement|d[ée]sinscription|d[ée]sinscrire|arr[êe]t(?:ez)?"
    r"|baja|cancelar(?: suscripci[óo]n)?|desuscribir(?:me)?|remover)"
    r"(?:\W+(?:please|bitte|svp|por favor|thanks|thank you|danke|merci|gracias|all))?\W*",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"^(?:(?:re|aw|fwd?|wg|tr|rv|sv)\s*:\s*)+", re.IGNORECASE)


def is_titled_away(subject: str) -> bool:
    """Whether the subject begins as those of automatic replies do; `Re:` is a person's."""
    return _AWAY_SUBJECT.match(subject) is not None


def says_away(text: str) -> bool:
    """Whether the text tells that its writer is away."""
    return _AWAY_TEXT.search(text[:5_000]) is not None


def asks_to_be_left_alone(subject: str, text: str) -> bool:
    """Whether the writer asks for no more mail."""
    if _BARE.fullmatch(subject) and not _PREFIX.match(subject):
        return True  # what unsubscribe links by mail put there
    words = " ".join(text[:5_000].split())
    first = text.strip().partition("\n")[0]
    if len(first) <= SHORT_LENGTH_MAX and _BARE.fullmatch(first):
        return True
    return any(
        not _OPPOSITE.search(words[max(0, found.start() - 40) : found.start()])
        for found in _LEAVE_ME.finditer(words)
    )
