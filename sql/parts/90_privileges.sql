-- 90_privileges.sql
--		Nobody but the owner may do anything here, until it is granted.
--
-- Each object revokes beside its definition; this catches what was forgotten.
-- An ordinary role needs nothing of it to insert payments: the triggers on its
-- table read the rules and append decisions as the extension's owner.

REVOKE ALL ON SCHEMA agentpay FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA agentpay FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA agentpay FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA agentpay FROM PUBLIC;
