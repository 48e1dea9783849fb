-- attach(), detach() and the versions of rules.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA t_attach_detach;
SET search_path = t_attach_detach;
CREATE TYPE verdict AS ENUM ('approve', 'review', 'decline');
CREATE TABLE payments (
	payment_id bigint PRIMARY KEY,
	created_at timestamp NOT NULL DEFAULT now(),
	amount numeric(12,2),
	currency varchar(3),
	outcome verdict,
	risk_score double precision,
	reasons text[],
	route text);
INSERT INTO payments (payment_id, amount) SELECT g, g FROM generate_series(1, 10) g;
CREATE VIEW triggers AS
	SELECT tgrelid::regclass AS table_name, tgname, tgenabled,
		   regexp_replace(pg_get_triggerdef(oid), '^.*" (BEFORE|AFTER) (.*) ON .*$', '\1 \2') AS events
	  FROM pg_trigger
	 WHERE tgrelid::regclass::text !~ '^agentpay' AND tgname LIKE '~agentpay%';
SELECT pg_relation_filenode('payments') AS before \gset

-- two points on one table share one pair of triggers, which sort last
SELECT agentpay.attach('payments', point => 't_attach_detach', role => 'fraud',
	id => 'payment_id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', outcome => 'outcome', score => 'risk_score', reasons => 'reasons');
SELECT agentpay.attach('payments', 't_attach_detach_route', 'routing', 'payment_id', 'created_at',
	amount => 'amount', currency => 'EUR', outcome => 'route', verdicts => '{acquirer_a,acquirer_b}');
SELECT * FROM triggers ORDER BY tgname COLLATE "C";
SELECT pg_relation_filenode('payments') = :before AS not_rewritten;
SELECT count(*) AS untouched FROM payments WHERE outcome IS NULL;
SELECT point, table_name, role, amount_column, currency_column, currency, outcome_column, enabled
  FROM agentpay.decision_points WHERE point LIKE 't\_attach\_detach%' ORDER BY point COLLATE "C";

-- vocabularies by role
SELECT agentpay.attach('payments', 't_attach_detach_rec', 'reconciliation', 'payment_id', 'created_at');
SELECT agentpay.attach('payments', 't_attach_detach_dis', 'dispute', 'payment_id', 'created_at');
SELECT agentpay.attach('payments', 't_attach_detach_four', 'fraud', 'payment_id', 'created_at',
	verdicts => '{approve,step_up,review,decline}');
SELECT point, verdict, rank, positive, is_default FROM agentpay.verdicts
 WHERE point LIKE 't\_attach\_detach%' ORDER BY point COLLATE "C", rank, verdict COLLATE "C";
SELECT scope, target, engaged FROM agentpay.kill_switches
 WHERE target LIKE 't\_attach\_detach%' ORDER BY target COLLATE "C";

-- the triggers go with the last enabled point; the rows stay
SELECT agentpay.detach('t_attach_detach_rec'), agentpay.detach('t_attach_detach_dis'),
	agentpay.detach('t_attach_detach_four'), agentpay.detach('t_attach_detach_route');
SELECT count(*) AS triggers FROM triggers;
SELECT agentpay.detach('t_attach_detach');
SELECT count(*) AS triggers FROM triggers;
SELECT point, enabled FROM agentpay.decision_points
 WHERE point LIKE 't\_attach\_detach%' ORDER BY point COLLATE "C";
-- a new attach() resumes, and may name other columns
SELECT agentpay.attach('payments', point => 't_attach_detach', role => 'fraud',
	id => 'payment_id', occurred_at => 'created_at', outcome => 'outcome');
SELECT point, enabled, amount_column, outcome_column FROM agentpay.decision_points WHERE point = 't_attach_detach';
SELECT count(*) AS triggers FROM triggers;
SELECT count(*) AS verdicts FROM agentpay.verdicts WHERE point = 't_attach_detach';

-- rules: left without a version they go to the draft, made when there is none
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_attach_detach', 'LARGE', 'amount > 1000', 60), ('t_attach_detach', 'HUGE', 'amount > 5000', 60);
SELECT agentpay.activate('t_attach_detach');
SELECT agentpay.activate('t_attach_detach', 1);
-- the next draft begins as a copy; a rule of the same code replaces the copied one
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_attach_detach', 'LARGE', 'amount > 2000', 50);
SELECT version, code, condition, score FROM agentpay.rules
 WHERE point = 't_attach_detach' ORDER BY version, code COLLATE "C";
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_attach_detach', 'LARGE', 'amount > 3000', 50)
	ON CONFLICT (point, version, code) DO UPDATE SET condition = excluded.condition RETURNING version, condition;
SELECT agentpay.activate('t_attach_detach');
SELECT agentpay.draft('t_attach_detach', from_version => 1);
SELECT agentpay.activate('t_attach_detach', 3);
SELECT version, state, activated_at IS NOT NULL AS was_active FROM agentpay.rulesets
 WHERE point = 't_attach_detach' ORDER BY version;
-- revert() goes one version back each time
SELECT agentpay.revert('t_attach_detach', 'too many declines');
SELECT agentpay.revert('t_attach_detach', 'still too many');
SELECT version, state FROM agentpay.rulesets WHERE point = 't_attach_detach' ORDER BY version;
\set VERBOSITY terse
SELECT agentpay.revert('t_attach_detach', 'further');
\set VERBOSITY default
-- a retired version can be active again
SELECT agentpay.activate('t_attach_detach', 2);
SELECT agentpay.revert('t_attach_detach', 'to the one that was active before');
SELECT version, state FROM agentpay.rulesets WHERE point = 't_attach_detach' ORDER BY version;

-- all of it is on record
SELECT action, object_kind, object, reason, count(*) FROM agentpay.governance_log
 WHERE object LIKE 't\_attach\_detach%' AND object_kind IN ('point', 'ruleset')
   AND action IN ('attach', 'detach', 'activate', 'revert')
 GROUP BY action, object_kind, object, reason
 ORDER BY action COLLATE "C", object COLLATE "C", reason COLLATE "C";
UPDATE agentpay.rules SET snoozed_until = '2030-01-01'
 WHERE point = 't_attach_detach' AND version = 1 AND code = 'HUGE';
SELECT action, before ->> 'snoozed_until' AS before, left(after ->> 'snoozed_until', 10) AS after,
	   actor = session_user AS by_me
  FROM agentpay.governance_log WHERE object = 't_attach_detach.1.HUGE' AND action = 'update';
-- an UPDATE that changes nothing is not
UPDATE agentpay.rules SET priority = priority WHERE point = 't_attach_detach' AND version = 1;
SELECT count(*) FROM agentpay.governance_log WHERE object = 't_attach_detach.1.HUGE' AND action = 'update';

-- configuration can be written by migrations
INSERT INTO agentpay.lists (name, description) VALUES ('t_attach_detach', 'first')
	ON CONFLICT (name) DO UPDATE SET description = excluded.description RETURNING *;
INSERT INTO agentpay.lists (name, description) VALUES ('t_attach_detach', 'second')
	ON CONFLICT (name) DO UPDATE SET description = excluded.description RETURNING *;
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_attach_detach', 'LISTED', 'in_list(''t_attach_detach'', payment_id)');
\set VERBOSITY terse
DELETE FROM agentpay.lists WHERE name = 't_attach_detach';
\set VERBOSITY default

-- models: a new row is the next version, and the active one
INSERT INTO agentpay.models (name, kind, features, definition)
SELECT 't_attach_detach', 'logistic', '{amount}', format('{"intercept":%s,"coefficients":[1],"mean":[0],"scale":[1]}', i)::jsonb
  FROM generate_series(1, 3) AS i;
SELECT version, definition ->> 'intercept' AS intercept, active FROM agentpay.models WHERE name = 't_attach_detach' ORDER BY version;
UPDATE agentpay.models SET active = true WHERE name = 't_attach_detach' AND version = 1;
SELECT version, active FROM agentpay.models WHERE name = 't_attach_detach' ORDER BY version;

-- agents: a version for every change but stage and enabled
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when)
VALUES ('t_attach_detach', 't_attach_detach', 'builtin', 't_attach_detach', 'score > 10');
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_attach_detach';
UPDATE agentpay.agents SET enabled = false WHERE name = 't_attach_detach';
UPDATE agentpay.agents SET invoke_when = 'score > 20' WHERE name = 't_attach_detach';
UPDATE agentpay.agents SET invoke_when = 'score > 20' WHERE name = 't_attach_detach';
UPDATE agentpay.agents SET sample_percent = 50 WHERE name = 't_attach_detach';
SELECT version, definition ->> 'invoke_when' AS invoke_when, definition ->> 'sample_percent' AS sample_percent,
	   definition ? 'stage' AS has_stage, sha256 = sha256(convert_to(definition::text, 'UTF8')) AS digest
  FROM agentpay.agent_versions WHERE agent = 't_attach_detach' ORDER BY version;

-- to stop an agent or to snooze a rule is always possible
UPDATE agentpay.agents SET enabled = true WHERE name = 't_attach_detach';
ALTER TABLE payments RENAME COLUMN amount TO amount_2;
\set VERBOSITY terse
UPDATE agentpay.agents SET timeout_ms = 3000 WHERE name = 't_attach_detach';
\set VERBOSITY default
UPDATE agentpay.agents SET enabled = false WHERE name = 't_attach_detach' RETURNING stage, enabled;
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_attach_detach' RETURNING stage, enabled;
UPDATE agentpay.rules SET snoozed_until = '2031-01-01' WHERE point = 't_attach_detach' AND version = 1 AND code = 'LARGE'
	RETURNING snoozed_until IS NOT NULL AS snoozed;
ALTER TABLE payments RENAME COLUMN amount_2 TO amount;

-- its switch came with it; only UPDATE, and who and when by trigger
UPDATE agentpay.kill_switches SET engaged = true, reason = 'drill', changed_by = 'somebody', changed_at = '2001-01-01'
 WHERE scope = 'agent' AND target = 't_attach_detach'
RETURNING scope, target, engaged, reason, changed_by = session_user AS by_me, changed_at > '2020-01-01' AS just_now;
SELECT action, object, reason FROM agentpay.governance_log
 WHERE object_kind = 'kill_switch' AND object = 'agent.t_attach_detach' ORDER BY event_id;
DELETE FROM agentpay.agents WHERE name = 't_attach_detach';
SELECT count(*) AS switches FROM agentpay.kill_switches WHERE scope = 'agent' AND target = 't_attach_detach';
SELECT count(*) AS versions FROM agentpay.agent_versions WHERE agent = 't_attach_detach';

-- partitioned tables: leaves get the pair, those to come too; the id with the
-- partition key, or alone in every leaf
CREATE TABLE by_day (id uuid NOT NULL, day date NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE by_day_1 PARTITION OF by_day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
SELECT agentpay.attach('by_day', 't_attach_detach_day', 'fraud', 'id', 'day');
CREATE TABLE by_day_2 PARTITION OF by_day FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT * FROM triggers WHERE table_name::text LIKE 'by_day%' ORDER BY table_name::text COLLATE "C", tgname COLLATE "C";
CREATE TABLE by_key (key text NOT NULL, at timestamptz NOT NULL, region text NOT NULL) PARTITION BY LIST (region);
CREATE TABLE by_key_eu PARTITION OF by_key FOR VALUES IN ('eu');
CREATE TABLE by_key_us PARTITION OF by_key FOR VALUES IN ('us');
CREATE UNIQUE INDEX ON by_key_eu (key);
\set VERBOSITY terse
SELECT agentpay.attach('by_key', 't_attach_detach_key', 'fraud', 'key', 'at');
\set VERBOSITY default
CREATE UNIQUE INDEX ON by_key_us (key);
SELECT agentpay.attach('by_key', 't_attach_detach_key', 'fraud', 'key', 'at');

-- an enabled point outlives its table, can be detached, and stand on a new one
DROP TABLE by_key;
SELECT agentpay.detach('t_attach_detach_key');
CREATE TABLE by_key (key text PRIMARY KEY, at timestamptz NOT NULL);
SELECT agentpay.attach('by_key', 't_attach_detach_key', 'fraud', 'key', 'at');
SELECT table_name, enabled FROM agentpay.decision_points WHERE point = 't_attach_detach_key';

-- an ordinary role can do nothing here
CREATE ROLE t_attach_detach;
GRANT USAGE ON SCHEMA t_attach_detach TO t_attach_detach;
SET ROLE t_attach_detach;
\set VERBOSITY terse
SELECT * FROM agentpay.rules;
SELECT agentpay.detach('t_attach_detach');
UPDATE agentpay.kill_switches SET engaged = true;
RESET ROLE;
-- unless it is granted: then the checks and the log need no further grants
GRANT USAGE ON SCHEMA agentpay TO t_attach_detach;
GRANT SELECT, UPDATE ON agentpay.kill_switches TO t_attach_detach;
SET ROLE t_attach_detach;
SELECT * FROM agentpay.rules;
SELECT agentpay.detach('t_attach_detach');
UPDATE agentpay.kill_switches SET engaged = true, reason = 'granted'
 WHERE scope = 'point' AND target = 't_attach_detach' RETURNING scope, target, engaged;
UPDATE agentpay.kill_switches SET engaged = false, reason = NULL
 WHERE scope = 'point' AND target = 't_attach_detach' RETURNING scope, target, engaged;
RESET ROLE;
REVOKE ALL ON agentpay.kill_switches FROM t_attach_detach;
REVOKE ALL ON SCHEMA agentpay FROM t_attach_detach;

-- without a master key, attach() says what cannot be sealed; pass is kept as it is
\set VERBOSITY default
SET client_min_messages = notice;
CREATE TABLE t_unsealed (id bigint PRIMARY KEY, at timestamptz NOT NULL, card text, mail text, city text, cvv text);
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES
	('t_unsealed', 'mail', 'pii', 'drop'), ('t_unsealed', 'card', 'pci', 'mask'), ('t_unsealed', 'city', 'public', 'pass'), ('t_unsealed', 'cvv', 'pci', 'drop');
SELECT agentpay.attach('t_unsealed', 't_attach_detach_unsealed', 'fraud', id => 'id', occurred_at => 'at');
DELETE FROM agentpay.data_policies WHERE table_name = 't_unsealed'::regclass AND column_name IN ('card', 'mail');
SELECT agentpay.attach('t_unsealed', 't_attach_detach_unsealed', 'fraud', id => 'id', occurred_at => 'at');
DELETE FROM agentpay.data_policies WHERE table_name = 't_unsealed'::regclass;
SET client_min_messages = warning;

-- clean up
DELETE FROM agentpay.models WHERE name = 't_attach_detach';
SELECT agentpay.detach(point) FROM agentpay.decision_points WHERE point LIKE 't\_attach\_detach%' AND enabled;
DROP SCHEMA t_attach_detach CASCADE;
DROP ROLE t_attach_detach;
