-- Each check of agentpay.advice: break it, see it named, run its own fix
-- where that is complete SQL, see it gone.
BEGIN;
SET client_min_messages = warning;
\o /dev/null
\ir views_fixture.psql
\o
CREATE FUNCTION pg_temp.advised(what text, which text, said text) RETURNS text
	LANGUAGE sql AS $$
	SELECT fix FROM agentpay.advice
	 WHERE object_kind = what AND object = which AND problem LIKE said LIMIT 1 $$;
-- Two tests: the advice is there; its fix takes it away.
CREATE FUNCTION pg_temp.mends(what text, which text, said text)
	RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	fix text := pg_temp.advised(what, which, said);
BEGIN
	RETURN NEXT isnt(fix, NULL, format('%s %s: %s', what, which, said));
	EXECUTE coalesce(fix, 'SELECT 1');
	RETURN NEXT is(pg_temp.advised(what, which, said), NULL,
				   'mended by: ' || coalesce(fix, 'nothing'));
END $$;
-- The guards refuse DISABLE TRIGGER; what a restore may have brought is made
-- as a superuser still can, in the catalogs.
CREATE FUNCTION pg_temp.set_triggers(which regclass, state "char")
	RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL allow_system_table_mods = on;
	UPDATE pg_trigger SET tgenabled = state
	 WHERE tgrelid = which AND NOT tgisinternal;
	UPDATE pg_class SET relname = relname WHERE oid = which; -- invalidates it
	SET LOCAL allow_system_table_mods = off;
END $$;
SELECT plan(77);

-- ── points ──────────────────────────────────────────────────────────────────
SELECT isnt(pg_temp.advised('point', 't_views_w', 'no ruleset is active%'),
	NULL, 'no active ruleset');
SELECT is(pg_temp.advised('point', 't_views', 'no ruleset is active%'), NULL,
	'an active one');
INSERT INTO agentpay.rules (point, code, condition, score)
VALUES ('t_views_w', 'R', 'country = ''XX''', 10);
SELECT pg_temp.mends('point', 't_views_w', 'no ruleset is active%');
UPDATE agentpay.decision_points SET enabled = false WHERE point = 't_views';
SELECT pg_temp.mends('point', 't_views', 'disabled%');
UPDATE agentpay.decision_points SET explore_percent = 1
 WHERE point IN ('t_views', 't_views_w');
SELECT pg_temp.mends('point', 't_views', 'explore_percent lets declined%');
-- it has no amount to limit
SELECT pg_temp.mends('point', 't_views_w', 'explore_percent lets declined%');
DROP TRIGGER "~agentpay_score" ON t_views.payments;
SELECT pg_temp.mends('table', 't_views.payments', '%"~agentpay_score" is missing%');
ALTER TABLE t_views.payments DISABLE TRIGGER "~agentpay_record";
SELECT pg_temp.mends('table', 't_views.payments', '%disabled%');
ALTER TABLE t_views.payments ENABLE TRIGGER "~agentpay_score";
SELECT pg_temp.mends('table', 't_views.payments', '%not ENABLE ALWAYS%');
CREATE FUNCTION t_views.f() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "~zz" BEFORE INSERT ON t_views.payments FOR EACH ROW
	EXECUTE FUNCTION t_views.f();
SELECT pg_temp.mends('table', 't_views.payments', '%"~zz" fires after%');
CREATE TRIGGER "zz" BEFORE INSERT ON t_views.payments FOR EACH ROW
	EXECUTE FUNCTION t_views.f();
SELECT is(pg_temp.advised('table', 't_views.payments', '%fires after%'), NULL,
	'names sort by bytes: z comes before ~');
ALTER TABLE t_views.payments ADD idem text;
CREATE INDEX idem ON t_views.payments (idem);
UPDATE agentpay.decision_points SET idempotency_column = 'idem'
 WHERE point = 't_views';
DROP INDEX t_views.idem;
SELECT matches(pg_temp.advised('point', 't_views', 'the idempotency column%'),
	'CREATE INDEX CONCURRENTLY ON t_views.payments \(idem\);',
	'an idempotency column without an index');
CREATE INDEX idem ON t_views.payments (idem);
SELECT is(pg_temp.advised('point', 't_views', 'the idempotency column%'), NULL,
	'with its index again');
CREATE INDEX by_country ON t_views.payments (country, at);
INSERT INTO agentpay.features (point, name, key, aggregate, over)
VALUES ('t_views', 'n_country', '{country}', 'count', '1 hour');
DROP INDEX t_views.by_country;
SELECT pg_temp.mends('feature', 't_views.n_country', 'the index%');

-- ── agents ──────────────────────────────────────────────────────────────────
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_a';
SELECT pg_temp.mends('agent', 't_a', '1 of its tasks are open, but it is off');
UPDATE agentpay.agents SET enabled = false WHERE name = 't_a';
SELECT pg_temp.mends('agent', 't_a', '%but it is disabled');
INSERT INTO agentpay.allowed_endpoints VALUES ('http://127.0.0.1:8080');
INSERT INTO agentpay.data_policies VALUES
	('t_views.payments', 'currency', 'public', 'pass');
INSERT INTO agentpay.budgets (name, period, cap_cost)
VALUES ('t_hour', 'hour', 5), ('t_transaction', 'transaction', 1);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields,
	invoke_when, stage, price_input_per_million, price_output_per_million)
VALUES ('t_llm', 't_views', 'openai', 'http://127.0.0.1:8080', 'm',
	'{currency}', 'true', 'shadow', 1, 2);
SELECT is(pg_temp.advised('agent', 't_llm', '%'), NULL,
	'an agent with caps and policies');
DELETE FROM agentpay.data_policies WHERE table_name = 't_views.payments'::regclass;
SELECT pg_temp.mends('agent', 't_llm', 'field "currency" is never sent%');
-- caps can no longer be taken away by SQL; a restored database may lack them
SELECT pg_temp.set_triggers('agentpay.budgets', 'D');
DELETE FROM agentpay.budgets WHERE name = 't_hour';
SELECT pg_temp.set_triggers('agentpay.budgets', 'A');
SELECT pg_temp.mends('agent', 't_llm', 'no budget in its scope caps its cost per hour');

-- ── agents on their way ─────────────────────────────────────────────────────
UPDATE agentpay.agents SET position = 'pre_auth', timeout_ms = 5000
 WHERE name = 't_llm';
SELECT pg_temp.mends('agent', 't_llm', 'an attempt may take 5000 ms%within 3000 ms%');
INSERT INTO agentpay.allowed_endpoints VALUES ('https://t-advice.example');
UPDATE agentpay.agents SET price_input_per_million = 0,
	price_output_per_million = 0 WHERE name = 't_llm';
SELECT is(pg_temp.advised('agent', 't_llm', 'all its prices%'), NULL,
	'a model on this machine may cost nothing');
UPDATE agentpay.agents SET endpoint = 'https://t-advice.example'
 WHERE name = 't_llm';
SELECT matches(pg_temp.advised('agent', 't_llm', 'all its prices are 0%'),
	'SET price_input_per_million = ..., price_output_per_million = ...',
	'elsewhere none does');
UPDATE agentpay.agents SET price_output_per_million = 2 WHERE name = 't_llm';
SELECT is(pg_temp.advised('agent', 't_llm', 'all its prices%'), NULL, 'a price');
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_b';
UPDATE agentpay.agents SET escalate_to = 't_b' WHERE name = 't_llm';
SELECT pg_temp.mends('agent', 't_llm', 'it escalates to t_b, which is off%');
UPDATE agentpay.agents SET enabled = false WHERE name = 't_b';
SELECT pg_temp.mends('agent', 't_llm', 'it escalates to t_b, which is disabled%');
\o /dev/null
SELECT agentpay.attach('t_views.payments', point => 't_advice_r',
	role => 'routing', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'currency', verdicts => '{one,two}');
\o
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
VALUES ('t_r_hour', 'point', 't_advice_r', 'hour', 5);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields,
	invoke_when, stage, price_input_per_million, price_output_per_million)
VALUES ('t_route', 't_advice_r', 'openai', 'http://127.0.0.1:8080', 'm',
	'{currency}', 'true', 'shadow', 1, 2);
SELECT isnt(pg_temp.advised('agent', 't_route', 'it may decide nothing%'), NULL,
	'verdicts without an order need authorities');
INSERT INTO agentpay.authorities (agent, verdict) VALUES ('t_route', 'two');
SELECT is(pg_temp.advised('agent', 't_route', 'it may decide nothing%'), NULL,
	'with one');
UPDATE agentpay.gates SET enabled = false;
SELECT pg_temp.mends('agent', 't_route', 'no gate is between%');
SELECT is(agentpay.promote('t_a'), '5', 'without a gate anybody is promoted');
SELECT pg_temp.mends('agent', 't_a', 'it decides at stage 5, and no guardrail%');
SELECT is(pg_temp.advised('agent', 't_a', 'it decides about every payment%'),
	NULL, 'at 5 the others are a control group');
SELECT ok(agentpay.promote('t_a') = '25' AND agentpay.promote('t_a') = '100',
	'to the last stage');
SELECT is(pg_temp.advised('agent', 't_a', 'no gate%'), NULL,
	'which has no gate above it');
SELECT pg_temp.mends('agent', 't_a', 'it decides about every payment%');
INSERT INTO t_views.payments VALUES ('CHF 1', now(), 5, 'CHF', 'CH');
SELECT isnt(pg_temp.advised('point', 't_views', '1 rows of the last day are in CHF%to USD%'),
	NULL, 'an amount that cannot be converted');
INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate)
VALUES ('USD', 'CHF', current_date, 1.1);
SELECT is(pg_temp.advised('point', 't_views', '%in CHF%'), NULL, 'a rate');

-- ── control ─────────────────────────────────────────────────────────────────
-- 0.008 is spent and 0.004 held: 80 % of 0.015
SELECT is(pg_temp.advised('budget', 't_half', '%'), NULL, 'no such budget');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
VALUES ('t_half', 'agent', 't_a', 'hour', 0.015);
SELECT count(*) AS one FROM agentpay._reserve(ARRAY[ROW(-1, 1, 0.009, 'fraud', 't_views', 't_a', 'c', 'p', NULL),
	ROW(-2, 1, 0.004, 'fraud', 't_views', 't_a', 'c', 'p', NULL)]::agentpay._reservation[]) \gset
SELECT agentpay._settle(ARRAY[ROW(-1, 1, 'settled', 0.008)::agentpay._settlement]) AS one \gset
SELECT matches((SELECT problem FROM agentpay.advice WHERE object = 't_half'),
	'80.0 % of it is used in the last hour', 'a budget at its alert');
SELECT pg_temp.mends('budget', 't_half', '80.0 %');
-- a share of nothing cannot be told, and twice nothing mends nothing
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls) VALUES ('t_none', 'agent', 't_a', 'hour', 0, 0);
SELECT matches((SELECT problem FROM agentpay.advice WHERE object = 't_none'), '^its cap is 0; exhausted: fallback$', 'a budget without any room');
SELECT pg_temp.mends('budget', 't_none', 'its cap is 0%');
UPDATE agentpay.kill_switches SET engaged = true, reason = 'drill'
 WHERE scope = 'point' AND target = 't_views';
SELECT matches(pg_temp.advised('kill_switch', 'point t_views', '%drill'),
	'UPDATE agentpay.kill_switches SET engaged = false', 'an engaged switch');

-- ── logs ────────────────────────────────────────────────────────────────────
SELECT isnt(pg_temp.advised('rule', 't_views.ABROAD',
	'failed 1 times in the last day: division by zero'), NULL, 'a rule that failed');
SELECT isnt(pg_temp.advised('point', 't_views',
	'1 rows of the last day were changed after they were scored: ["amount"]'),
	NULL, 'a row that changed after scoring');
SELECT is(pg_temp.advised('point', 't_views', 'of % payments%'), NULL,
	'25 payments are too few to say that labels are missing');

-- ── time ────────────────────────────────────────────────────────────────────
SET LOCAL agentpay.clock_offset = '1h';
SELECT isnt(pg_temp.advised('agent', 't_a', 'its oldest open task has waited%'),
	NULL, 'a queue that stands still');
SET LOCAL agentpay.clock_offset = '150d';
SELECT pg_temp.mends('partition', 'agentpay.outcomes_'
	|| to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM'), 'a partition%');
SELECT is(pg_temp.advised('agent', 't_a', 'in shadow for%'), NULL,
	'an agent that decides');
SELECT matches((SELECT problem FROM agentpay.advice
				 WHERE object = 't_route' AND problem LIKE 'in shadow%'),
	'in shadow for 150 days', 'one that stays in shadow');
SELECT isnt(pg_temp.advised('agent', 't_route', 'it has been asked for longer%'),
	NULL, 'without a label after 90 days');
\o /dev/null
SELECT agentpay.record_outcome('t_advice_r', 'CHF 1', 'one');
\o
SELECT is(pg_temp.advised('agent', 't_route', 'it has been asked for longer%'),
	NULL, 'with one');
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_route';
SELECT is(pg_temp.advised('agent', 't_route', 'in shadow%'), NULL, 'off');
SET LOCAL agentpay.clock_offset = 0;

-- ── the database ────────────────────────────────────────────────────────────
SELECT pg_temp.set_triggers('agentpay._identity', 'D');
UPDATE agentpay._identity SET database_oid = 1;
SELECT pg_temp.set_triggers('agentpay._identity', 'A');
SELECT isnt(pg_temp.advised('database', current_database(),
	'this database was restored or copied%'), NULL, 'a copy');
SELECT lives_ok(pg_temp.advised('database', current_database(),
	'this database was restored or copied%'), 'its fix');
SELECT is(pg_temp.advised('database', current_database(),
	'this database was restored or copied%'), NULL, 'adopted');
SELECT * FROM finish();
ROLLBACK;
