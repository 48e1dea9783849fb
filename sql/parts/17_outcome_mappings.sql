-- 17_outcome_mappings.sql
--		What the reason code of a dispute says about fraud, and what such a row
--		must be.
--
-- As 15_configuration_checks.sql, whose helpers it uses; 18_governance.sql puts
-- the triggers on the table.  61_disputes.sql asks it.

-- The networks' own groups: fraud, and what is none (authorisation, processing,
-- the goods).  These rows come with CREATE EXTENSION.
CREATE FUNCTION agentpay._usual_mappings()
	RETURNS TABLE (network text, reason_code text, label text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT u.network, c.reason_code, u.label
	  FROM (VALUES
		-- 10 fraud; 11 authorisation, 12 processing, 13 consumer disputes
		('visa', 'fraud', '{10.1,10.2,10.3,10.4,10.5}'),
		('visa', NULL, '{11.1,11.2,11.3,12.1,12.2,12.3,12.4,12.5,12.6,12.6.1,12.6.2,12.7,13.1,13.2,13.3,13.4,13.5,13.6,13.7,13.8,13.9}'),
		-- no authorisation by the cardholder, fraudulent processing,
		-- questionable merchant, not recognised, chip liability
		('mastercard', 'fraud', '{4837,4840,4849,4863,4870,4871}'),
		('mastercard', NULL, '{4807,4808,4812,4831,4834,4841,4842,4846,4850,4853,4854,4855,4859,4860}'),
		-- F and the full recourse programme; A, C, M, P, R are other groups, FR4
		-- and FR6 programmes for any dispute
		('amex', 'fraud', '{F10,F14,F24,F29,F30,F31,FR2}'),
		('amex', NULL, '{A01,A02,A08,C02,C04,C05,C08,C14,C18,C28,C31,C32,FR4,FR6,M01,M10,M49,P01,P03,P04,P05,P07,P08,P22,P23,R03,R13}'),
		-- UA; AA is "does not recognize", which claims no fraud
		('discover', 'fraud', '{UA01,UA02,UA05,UA06,UA10,UA11}'),
		('discover', NULL, '{AA,AP,AT,AW,CD,DA,DP,EX,IC,IN,LP,NA,NC,NF,PM,RG,RM,RN2}'))
		AS u (network, label, codes)
	 CROSS JOIN LATERAL unnest(u.codes::text[]) AS c (reason_code)
$$;
REVOKE ALL ON FUNCTION agentpay._usual_mappings() FROM PUBLIC;

CREATE TABLE agentpay.outcome_mappings (
	network text NOT NULL,
	reason_code text NOT NULL,
	label text,
	PRIMARY KEY (network, reason_code));
INSERT INTO agentpay.outcome_mappings SELECT * FROM agentpay._usual_mappings();
COMMENT ON TABLE agentpay.outcome_mappings IS 'the label that a dispute gives its payment, by its network''s reason code; the usual codes are filled in';
COMMENT ON COLUMN agentpay.outcome_mappings.network IS 'in small letters: visa, mastercard, amex, discover; disputes are compared in any case';
COMMENT ON COLUMN agentpay.outcome_mappings.reason_code IS 'in capitals, as the network writes it: 10.4, 4837, F29, UA02; disputes are compared in any case';
COMMENT ON COLUMN agentpay.outcome_mappings.label IS 'fraud or legit; NULL: says nothing about fraud (processing error, consumer dispute)';
-- As with kill_switches: rows that nobody touched come with CREATE EXTENSION;
-- the others are dumped, and restored over them.
SELECT pg_catalog.pg_extension_config_dump('agentpay.outcome_mappings',
	'WHERE NOT EXISTS (SELECT FROM agentpay._usual_mappings() u WHERE u.network = outcome_mappings.network AND u.reason_code = outcome_mappings.reason_code AND u.label IS NOT DISTINCT FROM outcome_mappings.label)');

CREATE FUNCTION agentpay._check_mapping(m agentpay.outcome_mappings)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF m.network IS NULL OR m.network !~ '^[a-z][a-z0-9_]{0,47}$' THEN
		PERFORM agentpay._refuse('23514', format('invalid network: %s',
				coalesce(quote_literal(m.network), 'NULL')),
			'A network has 1 to 48 characters: a small letter, then small letters, digits and underscores.',
			format('Use %L, for example.', CASE
				WHEN lower(btrim(m.network)) ~ '^[a-z][a-z0-9_]{0,47}$'
				THEN lower(btrim(m.network)) ELSE 'visa' END));
	ELSIF m.reason_code IS NULL
		OR m.reason_code !~ '^[A-Z0-9][A-Z0-9._-]{0,31}$' THEN
		PERFORM agentpay._refuse('23514', format('invalid reason code: %s',
				coalesce(quote_literal(m.reason_code), 'NULL')),
			'A code has 1 to 32 characters: capitals, digits, dots, underscores and hyphens.',
			format('Use %L, for example.', CASE
				WHEN upper(btrim(m.reason_code)) ~ '^[A-Z0-9][A-Z0-9._-]{0,31}$'
				THEN upper(btrim(m.reason_code)) ELSE '10.4' END));
	ELSIF m.label NOT IN ('fraud', 'legit') THEN
		PERFORM agentpay._refuse('23514', format('unknown label: %L', m.label),
			'A dispute says fraud, legit, or, with NULL, nothing about fraud.',
			'Use ''fraud'', or NULL.');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_mapping(agentpay.outcome_mappings)
	FROM PUBLIC;

-- While restoring, and only then, INSERT goes over a row that is there, as with
-- kill_switches.  A usual code cannot go: CREATE EXTENSION would bring it back
-- in a restored database, and label NULL says the same.
CREATE FUNCTION agentpay._check_outcome_mappings() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		IF TG_OP = 'INSERT' THEN
			UPDATE agentpay.outcome_mappings m SET label = NEW.label
			 WHERE m.network = NEW.network
			   AND m.reason_code = NEW.reason_code;
			IF FOUND THEN
				RETURN NULL;
			END IF;
		END IF;
		RETURN coalesce(NEW, OLD);
	END IF;
	IF (TG_OP = 'DELETE' OR (OLD.network, OLD.reason_code)
							IS DISTINCT FROM (NEW.network, NEW.reason_code))
	   AND EXISTS (SELECT FROM agentpay._usual_mappings() u
					WHERE u.network = OLD.network
					  AND u.reason_code = OLD.reason_code) THEN
		PERFORM agentpay._refuse('55000',
			format('code %s of %s comes with agentpay', OLD.reason_code,
				   OLD.network),
			'It can have another label, and with NULL it says nothing about fraud.',
			format('UPDATE agentpay.outcome_mappings SET label = NULL WHERE network = %L AND reason_code = %L;',
				   OLD.network, OLD.reason_code));
	END IF;
	IF TG_OP <> 'DELETE' THEN
		PERFORM agentpay._check_mapping(NEW);
	END IF;
	RETURN coalesce(NEW, OLD);
END$$;
REVOKE ALL ON FUNCTION agentpay._check_outcome_mappings() FROM PUBLIC;
