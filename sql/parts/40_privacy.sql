-- 40_privacy.sql
--		What data policies do to a value is in C (src/privacy); this is its
--		detection for values that take a way in SQL.

CREATE FUNCTION agentpay._redact(value text) RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_redact';
REVOKE ALL ON FUNCTION agentpay._redact(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._redact(text) IS 'the text with what detection finds (docs/security.md) replaced by [PAN], [TRACK], [CVV], [IBAN], [EMAIL], [IP], [PHONE], [ID]';
