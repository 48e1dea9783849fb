-- What reason codes say about fraud: the seeded rows, by the networks' published
-- groups (written down here once more), what is refused, and the record.
BEGIN;
SET client_min_messages = warning;
SET search_path = public, pg_catalog;
\ir refused.psql
SELECT plan(16);

SELECT results_eq($$ SELECT network, string_agg(reason_code, ' ' ORDER BY reason_code COLLATE "C")
	FROM agentpay.outcome_mappings WHERE label = 'fraud' GROUP BY 1 ORDER BY 1 $$,
	$$ VALUES ('amex', 'F10 F14 F24 F29 F30 F31 FR2'), ('discover', 'UA01 UA02 UA05 UA06 UA10 UA11'),
	('mastercard', '4837 4840 4849 4863 4870 4871'), ('visa', '10.1 10.2 10.3 10.4 10.5') $$,
	'codes of fraud');
SELECT is_empty($$ SELECT * FROM agentpay.outcome_mappings
	WHERE network = 'visa' AND (reason_code LIKE '10.%') <> (label IS NOT NULL) $$,
	'Visa: group 10 and no other');
SELECT is(count(*), 21::bigint, 'Visa: 3 of authorisation, 9 of processing, 9 of consumers say nothing')
  FROM agentpay.outcome_mappings WHERE network = 'visa' AND label IS NULL;
SELECT is((SELECT count(*) FROM agentpay.outcome_mappings WHERE label = 'legit'), 0::bigint,
	'no code says that a payment was legit');

SELECT lives_ok($$ INSERT INTO agentpay.outcome_mappings VALUES ('jcb', '546', 'fraud')
	ON CONFLICT (network, reason_code) DO UPDATE SET label = excluded.label $$, 'another network');
SELECT lives_ok($$ UPDATE agentpay.outcome_mappings SET label = NULL
	WHERE network = 'visa' AND reason_code = '10.5' $$, 'another meaning');
SELECT is(pg_temp.refused($$ INSERT INTO agentpay.outcome_mappings VALUES ('Visa', '10.9', 'fraud') $$),
	'23514 | invalid network: ''Visa'' | Use ''visa'', for example.', 'a network has small letters');
SELECT is(pg_temp.refused($$ INSERT INTO agentpay.outcome_mappings VALUES ('discover', 'ua99 ', 'fraud') $$),
	'23514 | invalid reason code: ''ua99 '' | Use ''UA99'', for example.', 'a code has capitals');
SELECT is(pg_temp.refused($$ INSERT INTO agentpay.outcome_mappings VALUES ('visa', '10.9', 'decline') $$),
	'23514 | unknown label: ''decline'' | Use ''fraud'', or NULL.', 'a label is none of the verdicts');
SELECT is(pg_temp.refused($$ DELETE FROM agentpay.outcome_mappings WHERE network = 'amex' AND reason_code = 'F29' $$),
	'55000 | code F29 of amex comes with agentpay | UPDATE agentpay.outcome_mappings SET label = NULL WHERE network = ''amex'' AND reason_code = ''F29'';',
	'what a restore would bring back cannot go');
SELECT alike(pg_temp.refused($$ UPDATE agentpay.outcome_mappings SET reason_code = 'F99' WHERE network = 'amex' AND reason_code = 'F29' $$),
	'55000 | code F29 of amex %', 'nor be renamed');
SELECT lives_ok($$ DELETE FROM agentpay.outcome_mappings WHERE network = 'jcb' $$, 'one of your own goes');
SELECT alike(pg_temp.refused('TRUNCATE agentpay.outcome_mappings'), '55000 | %', 'not all at once');

SELECT results_eq($$ SELECT action, object, before ->> 'label', after ->> 'label'
	FROM agentpay.governance_log WHERE object_kind = 'outcome_mapping' ORDER BY logged_at, event_id $$,
	$$ VALUES ('insert', 'jcb.546', NULL, 'fraud'), ('update', 'visa.10.5', 'fraud', NULL),
	('delete', 'jcb.546', 'fraud', NULL) $$, 'who changed what is on record');
CREATE ROLE t_mappings;
SET ROLE t_mappings;
SELECT alike(pg_temp.refused('SELECT FROM agentpay.outcome_mappings'), '42501 | %', 'not for everybody');
RESET ROLE;
SELECT is((SELECT count(*) FROM agentpay.governance_log WHERE object_kind = 'outcome_mapping'
	AND actor = session_user), 3::bigint, 'by whom');
SELECT * FROM finish();
ROLLBACK;
