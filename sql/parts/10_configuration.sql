-- 10_configuration.sql
--		The rows that people edit: plain tables with natural keys.
--
-- Validation and versions come by triggers, in 15_configuration_checks.sql to
-- 17_control_checks.sql; 18_governance.sql puts them on the tables and records
-- every change.  Every table here is dumped with the database
-- (pg_extension_config_dump), so that a restore brings the configuration back.

-- The schema must be ours and empty: an object that was put there beforehand
-- could be called instead of ours.
DO $$
DECLARE
	schema_oid oid := 'agentpay'::regnamespace;
	squatter text;
BEGIN
	SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) INTO squatter
	  FROM pg_class c WHERE c.relnamespace = schema_oid LIMIT 1;
	IF squatter IS NULL THEN
		SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) INTO squatter
		  FROM pg_proc p WHERE p.pronamespace = schema_oid LIMIT 1;
	END IF;
	IF squatter IS NULL THEN
		SELECT pg_describe_object('pg_type'::regclass, t.oid, 0) INTO squatter
		  FROM pg_type t WHERE t.typnamespace = schema_oid LIMIT 1;
	END IF;
	IF squatter IS NULL THEN
		SELECT pg_describe_object('pg_operator'::regclass, o.oid, 0)
		  INTO squatter
		  FROM pg_operator o WHERE o.oprnamespace = schema_oid LIMIT 1;
	END IF;
	IF squatter IS NOT NULL THEN
		RAISE EXCEPTION 'schema agentpay is not empty'
			USING ERRCODE = 'duplicate_object',
			DETAIL = format('It already holds %s.', squatter),
			HINT = 'DROP SCHEMA agentpay CASCADE; then CREATE EXTENSION agentpay;';
	END IF;
	IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
				WHERE n.oid = schema_oid AND NOT r.rolsuper
				  AND r.rolname <> current_user) THEN
		RAISE EXCEPTION 'schema agentpay belongs to another role'
			USING ERRCODE = 'insufficient_privilege',
			DETAIL = 'Its owner could add objects that agentpay would call.',
			HINT = format('ALTER SCHEMA agentpay OWNER TO %I;', current_user);
	END IF;
END$$;

-- ── points ──────────────────────────────────────────────────────────────────
CREATE TABLE agentpay.decision_points (
	point text PRIMARY KEY CHECK (point ~ '^[a-z][a-z0-9_]{0,47}$'),
	table_name regclass NOT NULL,
	role text NOT NULL CHECK (role IN ('fraud','routing','reconciliation','dispute')),
	id_column name NOT NULL,
	occurred_at_column name NOT NULL,
	amount_column name,
	currency_column name,
	currency text CHECK (currency ~ '^[A-Z]{3}$'),
	subject_column name,
	outcome_column name,
	score_column name,
	reasons_column name,
	idempotency_column name,
	time_zone text NOT NULL DEFAULT 'UTC',
	base_currency text NOT NULL DEFAULT 'USD',
	environment text NOT NULL DEFAULT 'production' CHECK (environment IN ('production','synthetic')),
	labels_complete boolean NOT NULL DEFAULT false,
	label_maturity interval NOT NULL DEFAULT '90 days',
	explore_percent numeric NOT NULL DEFAULT 0 CHECK (explore_percent BETWEEN 0 AND 10),
	explore_max_amount numeric,
	audit_sample_percent numeric NOT NULL DEFAULT 0 CHECK (audit_sample_percent BETWEEN 0 AND 100),
	four_eyes boolean NOT NULL DEFAULT false,
	decide_within_ms int NOT NULL DEFAULT 3000 CHECK (decide_within_ms BETWEEN 1 AND 3600000),
	case_due interval NOT NULL DEFAULT '24 hours',
	enabled boolean NOT NULL DEFAULT true,
	attached_at timestamptz NOT NULL DEFAULT now(),
	CHECK (amount_column IS NULL OR (currency_column IS NULL) <> (currency IS NULL)));
COMMENT ON TABLE agentpay.decision_points IS 'one question asked of each row of one table; rows are written by attach() and detach(), tuning columns by UPDATE';
COMMENT ON COLUMN agentpay.decision_points.point IS 'its name, for ever';
COMMENT ON COLUMN agentpay.decision_points.id_column IS 'the payment''s key; logs hold it as text, as row_id';
COMMENT ON COLUMN agentpay.decision_points.amount_column IS 'NULL: authority amounts do not apply';
COMMENT ON COLUMN agentpay.decision_points.currency IS 'the fixed currency, when no column has it';
COMMENT ON COLUMN agentpay.decision_points.subject_column IS 'whom the row is about; NULL: forget() cannot reach these rows';
COMMENT ON COLUMN agentpay.decision_points.outcome_column IS 'the user''s own column that receives the verdict';
COMMENT ON COLUMN agentpay.decision_points.score_column IS 'receives the score';
COMMENT ON COLUMN agentpay.decision_points.reasons_column IS 'receives the codes of the rules that matched';
COMMENT ON COLUMN agentpay.decision_points.idempotency_column IS 'the caller''s key: a row that repeats it gets the recorded verdict, and no new task';
COMMENT ON COLUMN agentpay.decision_points.time_zone IS 'rules see this zone, whatever the session''s is; DateStyle and locale are pinned too';
COMMENT ON COLUMN agentpay.decision_points.base_currency IS 'currency of a decision''s base_amount, at the rate of occurred_at';
COMMENT ON COLUMN agentpay.decision_points.environment IS 'gates refuse synthetic evidence';
COMMENT ON COLUMN agentpay.decision_points.labels_complete IS 'true: every row''s label becomes known, whatever was decided (a test set)';
COMMENT ON COLUMN agentpay.decision_points.label_maturity IS 'before it, neither fraud nor legit counts in metrics';
COMMENT ON COLUMN agentpay.decision_points.explore_percent IS 'would-be declines let through, to learn their labels';
COMMENT ON COLUMN agentpay.decision_points.explore_max_amount IS 'never above; never past a verdict that a list or sanction forced';
COMMENT ON COLUMN agentpay.decision_points.audit_sample_percent IS 'random rows that become cases, to learn labels';
COMMENT ON COLUMN agentpay.decision_points.four_eyes IS 'true: what lets more happen takes two session_users: rules by activate() and approve(), stages by sign_off() and promote(), opening a switch, raising a cap, loosening a gate or guardrail by the same statement twice';
COMMENT ON COLUMN agentpay.decision_points.decide_within_ms IS 'pre_auth: decide_by, in milliseconds after the row';
COMMENT ON COLUMN agentpay.decision_points.enabled IS 'false (also after detach): rows pass through, nothing is logged';
SELECT pg_catalog.pg_extension_config_dump('agentpay.decision_points', '');

-- Dumped: after a restore the same row is drawn again.
CREATE TABLE agentpay._draw_salts (
	point text PRIMARY KEY,
	salt bytea NOT NULL CHECK (octet_length(salt) = 32));
COMMENT ON TABLE agentpay._draw_salts IS 'keys of the hash that draws rows for explore_percent, audit_sample_percent and repeat_percent: who knows one can tell which row ids are drawn';
SELECT pg_catalog.pg_extension_config_dump('agentpay._draw_salts', '');

CREATE TABLE agentpay.verdicts (
	point text NOT NULL REFERENCES agentpay.decision_points ON DELETE CASCADE,
	verdict text NOT NULL CHECK (verdict ~ '^[a-z][a-z0-9_]{0,47}$'),
	rank int,
	positive boolean NOT NULL,
	is_default boolean NOT NULL DEFAULT false,
	description text,
	PRIMARY KEY (point, verdict),
	UNIQUE (point, rank));
CREATE UNIQUE INDEX verdicts_one_default ON agentpay.verdicts (point) WHERE is_default;
COMMENT ON TABLE agentpay.verdicts IS 'a point''s vocabulary; attach() fills it by role. fraud: approve 0 (default), review 1, decline 2, the last two positive ; reconciliation: matched 0, exception 1 (default, positive) ; dispute: accept, contest, escalate (default), unordered, contest positive ; routing: the routes, unordered, none positive';
COMMENT ON COLUMN agentpay.verdicts.rank IS '0 = loosest; NULL: not ordered (routes): no tightening, only authorities';
COMMENT ON COLUMN agentpay.verdicts.positive IS 'counts as flagged in accuracy';
COMMENT ON COLUMN agentpay.verdicts.is_default IS 'given when no rule matched';
SELECT pg_catalog.pg_extension_config_dump('agentpay.verdicts', '');

-- ── features, rules, lists, models ──────────────────────────────────────────
CREATE TABLE agentpay.features (
	point text NOT NULL REFERENCES agentpay.decision_points,
	name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,47}$'),
	kind text NOT NULL DEFAULT 'window' CHECK (kind IN ('window','since_last','lookup')),
	from_table regclass,
	key text[] NOT NULL,
	from_key text[],
	from_time name,
	aggregate text CHECK (aggregate IN ('count','sum','avg','min','max','stddev','count_distinct','rate')),
	value text,
	over interval,
	delay interval NOT NULL DEFAULT '0',
	filter text,
	include_current boolean NOT NULL DEFAULT true,
	default_value text,
	PRIMARY KEY (point, name),
	CHECK ((kind = 'window') = (over IS NOT NULL AND aggregate IS NOT NULL)),
	CHECK (kind <> 'lookup' OR (from_table IS NOT NULL AND value IS NOT NULL)),
	CHECK (aggregate IS NULL OR (aggregate = 'count') = (value IS NULL)));
COMMENT ON TABLE agentpay.features IS 'what rules and agents may know beyond the row; window and since_last are double precision; lookup has its column''s type';
COMMENT ON COLUMN agentpay.features.name IS 'never a column of the table';
COMMENT ON COLUMN agentpay.features.from_table IS 'whose rows count; NULL: the point''s own table; agentpay.outcomes: its rows with their latest label as of t';
COMMENT ON COLUMN agentpay.features.key IS 'columns of this row whose values the rows of from_table share: {card_id}';
COMMENT ON COLUMN agentpay.features.from_key IS 'the same in from_table; NULL: as key';
COMMENT ON COLUMN agentpay.features.from_time IS 'NULL: from_table''s occurred_at, if attached; a lookup by a unique key has none';
COMMENT ON COLUMN agentpay.features.aggregate IS 'NULL values do not count; count and count_distinct of nothing are 0, others NULL; stddev is that of a sample, rate the share of true values';
COMMENT ON COLUMN agentpay.features.value IS 'expression over from_table''s row; rate: boolean';
COMMENT ON COLUMN agentpay.features.over IS 'the window''s length; no months or years';
COMMENT ON COLUMN agentpay.features.delay IS 'the window ends that long before the row; 0 for a lookup';
COMMENT ON COLUMN agentpay.features.filter IS 'boolean expression over from_table''s row; rows that do not match do not count';
COMMENT ON COLUMN agentpay.features.include_current IS 'whether the row itself counts; never among the rows of another table';
COMMENT ON COLUMN agentpay.features.default_value IS 'instead of NULL, in the feature''s type';
SELECT pg_catalog.pg_extension_config_dump('agentpay.features', '');

CREATE TABLE agentpay.rulesets (
	point text NOT NULL REFERENCES agentpay.decision_points,
	version int NOT NULL CHECK (version > 0),
	state text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft','shadow','active','retired')),
	mode text NOT NULL DEFAULT 'score' CHECK (mode IN ('score','first_match')),
	thresholds jsonb NOT NULL DEFAULT '{}',
	on_error text,
	description text,
	created_by name NOT NULL DEFAULT current_user,
	created_at timestamptz NOT NULL DEFAULT now(),
	activated_at timestamptz,
	PRIMARY KEY (point, version));
CREATE UNIQUE INDEX rulesets_one_active ON agentpay.rulesets (point) WHERE state = 'active';
COMMENT ON TABLE agentpay.rulesets IS 'versions of a point''s rules; frozen once active or in shadow';
COMMENT ON COLUMN agentpay.rulesets.state IS 'changed by activate() and revert(); shadow: evaluated and logged beside the active one, without effect, until activate(), or SET state = ''retired''';
COMMENT ON COLUMN agentpay.rulesets.mode IS 'score: scores add up against thresholds, tightened by any rule''s verdict; first_match: the first rule by priority decides';
COMMENT ON COLUMN agentpay.rulesets.thresholds IS '{"review":50,"decline":100}: score >= n; {}: evenly to 100';
COMMENT ON COLUMN agentpay.rulesets.on_error IS 'verdict when a rule or feature fails at run time; NULL: fraud: review; otherwise the default verdict';
SELECT pg_catalog.pg_extension_config_dump('agentpay.rulesets', '');

CREATE TABLE agentpay.rules (
	point text NOT NULL,
	version int NOT NULL,
	code text NOT NULL CHECK (code ~ '^[A-Za-z][A-Za-z0-9_]{0,47}$'),
	condition text NOT NULL,
	score numeric NOT NULL DEFAULT 0 CHECK (score NOT IN ('NaN','Infinity','-Infinity')),
	verdict text,
	reason text,
	priority int NOT NULL DEFAULT 100,
	enabled boolean NOT NULL DEFAULT true,
	snoozed_until timestamptz,
	PRIMARY KEY (point, version, code),
	FOREIGN KEY (point, version) REFERENCES agentpay.rulesets ON DELETE CASCADE);
COMMENT ON TABLE agentpay.rules IS 'SQL boolean expressions; a matched rule''s code is a reason code';
COMMENT ON COLUMN agentpay.rules.version IS 'left out: the point''s draft, made when there is none';
COMMENT ON COLUMN agentpay.rules.condition IS 'over columns, features, in_list() and model(); NULL is no match';
COMMENT ON COLUMN agentpay.rules.verdict IS 'score mode: at least this strict';
COMMENT ON COLUMN agentpay.rules.reason IS 'for people';
COMMENT ON COLUMN agentpay.rules.priority IS 'first_match: lowest first, then code';
COMMENT ON COLUMN agentpay.rules.snoozed_until IS 'the only column that may change once active or in shadow';
SELECT pg_catalog.pg_extension_config_dump('agentpay.rules', '');

CREATE TABLE agentpay.lists (
	name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,47}$'),
	description text);
COMMENT ON TABLE agentpay.lists IS 'named lists for in_list() in rules';
SELECT pg_catalog.pg_extension_config_dump('agentpay.lists', '');

CREATE TABLE agentpay.list_entries (
	list text NOT NULL REFERENCES agentpay.lists ON DELETE CASCADE,
	value text NOT NULL,
	expires_at timestamptz,
	reason text,
	added_by name NOT NULL DEFAULT current_user,
	added_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (list, value));
COMMENT ON TABLE agentpay.list_entries IS 'what is on a list; what was on it before is kept, too, so that a decision can be tried again with the lists of its time';
COMMENT ON COLUMN agentpay.list_entries.value IS 'in_list() compares the value''s text form';
COMMENT ON COLUMN agentpay.list_entries.expires_at IS 'no longer on the list from then on; NULL: never';
SELECT pg_catalog.pg_extension_config_dump('agentpay.list_entries', '');

CREATE TABLE agentpay.models (
	name text NOT NULL,
	version int NOT NULL DEFAULT 1,
	kind text NOT NULL CHECK (kind IN ('xgboost','logistic')),
	features text[] NOT NULL,
	definition jsonb NOT NULL,
	report jsonb,
	active boolean NOT NULL DEFAULT true,
	trained_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (name, version));
CREATE UNIQUE INDEX models_one_active ON agentpay.models (name) WHERE active;
COMMENT ON TABLE agentpay.models IS 'models that run inside the database; model(''name'') uses the active version';
COMMENT ON COLUMN agentpay.models.version IS 'the next one, by trigger; rows are frozen, active aside';
COMMENT ON COLUMN agentpay.models.features IS 'inputs in order: columns or features';
COMMENT ON COLUMN agentpay.models.definition IS 'XGBoost''s JSON, or {intercept, coefficients, mean, scale}';
COMMENT ON COLUMN agentpay.models.report IS 'logistic: convergence, held-out AUC, average precision, precision@k; xgboost: what is in it';
SELECT pg_catalog.pg_extension_config_dump('agentpay.models', '');

-- ── agents ──────────────────────────────────────────────────────────────────
CREATE TABLE agentpay.allowed_endpoints (
	origin text PRIMARY KEY CHECK (origin ~ '^https?://[^/]+$'),
	added_by name NOT NULL DEFAULT current_user,
	added_at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE agentpay.allowed_endpoints IS 'the only origins that agents may call';
COMMENT ON COLUMN agentpay.allowed_endpoints.origin IS 'scheme://host[:port]; http only for loopback';
SELECT pg_catalog.pg_extension_config_dump('agentpay.allowed_endpoints', '');

CREATE TABLE agentpay.agents (
	name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,47}$'),
	point text NOT NULL REFERENCES agentpay.decision_points,
	protocol text NOT NULL CHECK (protocol IN ('openai','anthropic','bedrock','http','builtin')),
	endpoint text,
	model text,
	secret text CHECK (secret ~ '^(file|env):.+'),
	prompt text,
	fields text[] NOT NULL DEFAULT '{}',
	invoke_when text NOT NULL,
	sample_percent numeric NOT NULL DEFAULT 100 CHECK (sample_percent BETWEEN 0 AND 100),
	position text NOT NULL DEFAULT 'post_auth' CHECK (position IN ('pre_auth','post_auth','review')),
	stage text NOT NULL DEFAULT 'off',
	rollout_steps int[] NOT NULL DEFAULT '{5,25,100}',
	timeout_ms int NOT NULL DEFAULT 2000 CHECK (timeout_ms BETWEEN 1 AND 600000),
	max_attempts int NOT NULL DEFAULT 2 CHECK (max_attempts BETWEEN 1 AND 10),
	max_in_flight int NOT NULL DEFAULT 64 CHECK (max_in_flight BETWEEN 1 AND 10000),
	max_output_tokens int NOT NULL DEFAULT 256 CHECK (max_output_tokens BETWEEN 1 AND 100000),
	min_confidence numeric NOT NULL DEFAULT 0.5 CHECK (min_confidence BETWEEN 0 AND 1),
	price_input_per_million numeric CHECK (price_input_per_million >= 0),
	price_output_per_million numeric CHECK (price_output_per_million >= 0),
	price_cached_input_per_million numeric CHECK (price_cached_input_per_million >= 0),
	price_per_call numeric CHECK (price_per_call >= 0),
	cost_center text NOT NULL DEFAULT 'unattributed',
	holdout_percent numeric NOT NULL DEFAULT 0 CHECK (holdout_percent BETWEEN 0 AND 50),
	repeat_percent numeric NOT NULL DEFAULT 0 CHECK (repeat_percent BETWEEN 0 AND 100),
	repeats int NOT NULL DEFAULT 5 CHECK (repeats BETWEEN 2 AND 20),
	processor jsonb NOT NULL DEFAULT '{}',
	escalate_to text REFERENCES agentpay.agents,
	options jsonb NOT NULL DEFAULT '{}',
	enabled boolean NOT NULL DEFAULT true,
	CHECK (stage IN ('off','shadow') OR stage = ANY (rollout_steps::text[])),
	CHECK (protocol = 'builtin' OR endpoint IS NOT NULL),
	CHECK (protocol <> 'http' OR price_per_call IS NOT NULL),
	CHECK (protocol IN ('builtin','http') OR (price_input_per_million IS NOT NULL AND price_output_per_million IS NOT NULL)));
COMMENT ON TABLE agentpay.agents IS 'who may be asked about a row, when, with what, and at which price; changing protocol, endpoint, model, prompt, fields, options, invoke_when, position, escalate_to, min_confidence or authorities of an agent beyond shadow sends it back to shadow (NOTICE); leaving off needs an hourly and a per-transaction cost cap in scope, unless builtin';
COMMENT ON COLUMN agentpay.agents.endpoint IS 'full base URL; its origin must be in allowed_endpoints';
COMMENT ON COLUMN agentpay.agents.model IS 'the provider''s model; builtin: a name in agentpay.models';
COMMENT ON COLUMN agentpay.agents.secret IS 'where the key is, never the key: file:/path or env:NAME';
COMMENT ON COLUMN agentpay.agents.prompt IS 'the instructions; NULL: the role''s prompt. The row goes apart from it, as one JSON object';
COMMENT ON COLUMN agentpay.agents.fields IS 'columns and features sent; each needs a data policy';
COMMENT ON COLUMN agentpay.agents.invoke_when IS 'SQL boolean over row, features, score and verdict';
COMMENT ON COLUMN agentpay.agents.sample_percent IS 'share of the rows where invoke_when holds that are sent';
COMMENT ON COLUMN agentpay.agents.position IS 'pre_auth: the verdict may replace the rules'' until decide_by; post_auth: a later tightening appends; review: advises the case';
COMMENT ON COLUMN agentpay.agents.stage IS 'off, shadow, or a step of rollout_steps: raised by promote() alone, lowered by anybody who may UPDATE; not part of the version: moving it makes no agent_versions row';
COMMENT ON COLUMN agentpay.agents.rollout_steps IS 'percentages after shadow: of the subjects, or rows, on which its verdict may take effect';
COMMENT ON COLUMN agentpay.agents.timeout_ms IS 'of one attempt';
COMMENT ON COLUMN agentpay.agents.min_confidence IS 'an answer below it is a low_confidence failure';
COMMENT ON COLUMN agentpay.agents.price_input_per_million IS 'USD per million tokens; required unless builtin or http; 0 is said, not assumed';
COMMENT ON COLUMN agentpay.agents.price_cached_input_per_million IS 'NULL: as input';
COMMENT ON COLUMN agentpay.agents.price_per_call IS 'USD; required for http; NULL elsewhere: 0';
COMMENT ON COLUMN agentpay.agents.holdout_percent IS 'rows that stay under rules at every stage: the control group. The agent is asked about them all the same; at most two decimal places';
COMMENT ON COLUMN agentpay.agents.repeat_percent IS 'of the rows that it is asked about, those that it is asked about again, for inference_variance';
COMMENT ON COLUMN agentpay.agents.repeats IS 'how often such a row is asked about in all, the first time included; below 5 it is not in inference_variance';
COMMENT ON COLUMN agentpay.agents.processor IS '{"name","region","dpa_ref","retention"}: the record of who processes the data';
COMMENT ON COLUMN agentpay.agents.escalate_to IS 'a dearer agent of the same point; no cycle';
COMMENT ON COLUMN agentpay.agents.options IS 'the protocol''s own: temperature, region, answer_paths; builtin: thresholds';
COMMENT ON COLUMN agentpay.agents.enabled IS 'false: no new tasks, stage kept';
SELECT pg_catalog.pg_extension_config_dump('agentpay.agents', '');

-- Dumped: after a restore the same rows are inside.  A salt outlives its agent.
CREATE TABLE agentpay._agent_salts (
	agent text PRIMARY KEY,
	salt bytea NOT NULL CHECK (octet_length(salt) = 32));
COMMENT ON TABLE agentpay._agent_salts IS 'keys of the hash that says how far into a rollout a row, or its subject, stands: made with the agent, never changed';
SELECT pg_catalog.pg_extension_config_dump('agentpay._agent_salts', '');

-- Not dumped: what is open is closed when a copy is adopted.
CREATE TABLE agentpay._stage_lowerings (
	agent text PRIMARY KEY,
	times bigint NOT NULL);
REVOKE ALL ON agentpay._stage_lowerings FROM PUBLIC;
COMMENT ON TABLE agentpay._stage_lowerings IS 'how often the stage of an agent beyond shadow went down; no row: never';

CREATE TABLE agentpay.authorities (
	agent text NOT NULL REFERENCES agentpay.agents ON DELETE CASCADE,
	verdict text NOT NULL,
	max_amount numeric,
	currency text CHECK (currency ~ '^[A-Z]{3}$'),
	may_relax boolean NOT NULL DEFAULT false,
	PRIMARY KEY (agent, verdict),
	CHECK ((max_amount IS NULL) = (currency IS NULL)));
COMMENT ON TABLE agentpay.authorities IS 'what an agent may decide. Verdicts in order: an agent with no row may give any verdict that tightens; with rows, only those. Without an order: only those. An answer beyond it is an over_authority failure, and the rules stand';
COMMENT ON COLUMN agentpay.authorities.max_amount IS 'in currency; NULL: no limit. Signs do not count; an amount that is not known is above it';
COMMENT ON COLUMN agentpay.authorities.currency IS 'other currencies are over authority';
COMMENT ON COLUMN agentpay.authorities.may_relax IS 'also where the rules said something stricter, unless a list, an error, or, of role fraud, a rule with a verdict of its own forced that';
SELECT pg_catalog.pg_extension_config_dump('agentpay.authorities', '');

CREATE TABLE agentpay.data_policies (
	table_name regclass NOT NULL,
	column_name name NOT NULL,
	class text NOT NULL CHECK (class IN ('pii','pci','financial','free_text','public')),
	treatment text NOT NULL CHECK (treatment IN ('pass','mask','tokenise','hash','bucket','drop')),
	options jsonb NOT NULL DEFAULT '{}',
	PRIMARY KEY (table_name, column_name));
COMMENT ON TABLE agentpay.data_policies IS 'what may leave the database, and how; a column without a row never does. count, rate, since_last features pass; others take their value column''s policy';
COMMENT ON COLUMN agentpay.data_policies.options IS '{"keep_last":4} {"bounds":[10,100,1000]}';
SELECT pg_catalog.pg_extension_config_dump('agentpay.data_policies', '');

CREATE TABLE agentpay.exchange_rates (
	base text NOT NULL DEFAULT 'USD',
	currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
	valid_from date NOT NULL,
	rate numeric NOT NULL CHECK (rate > 0),
	PRIMARY KEY (base, currency, valid_from));
COMMENT ON TABLE agentpay.exchange_rates IS 'what a unit of a currency is worth, from a day on until the next row; makes base_amount of the decisions that come after it is written';
COMMENT ON COLUMN agentpay.exchange_rates.base IS 'the base_currency of points';
COMMENT ON COLUMN agentpay.exchange_rates.valid_from IS 'the first day, in the point''s time zone';
COMMENT ON COLUMN agentpay.exchange_rates.rate IS 'base currency units per unit';
SELECT pg_catalog.pg_extension_config_dump('agentpay.exchange_rates', '');

-- ── control ─────────────────────────────────────────────────────────────────
CREATE TABLE agentpay.budgets (
	name text PRIMARY KEY,
	scope text NOT NULL DEFAULT 'all' CHECK (scope IN ('all','role','point','agent','cost_center')),
	target text NOT NULL DEFAULT '*',
	period text NOT NULL CHECK (period IN ('transaction','minute','hour','day','month')),
	cap_cost numeric CHECK (cap_cost >= 0 AND cap_cost NOT IN ('NaN','Infinity')),
	cap_calls bigint CHECK (cap_calls >= 0),
	alert_percent numeric NOT NULL DEFAULT 80 CHECK (alert_percent BETWEEN 0 AND 100),
	on_exhausted text NOT NULL DEFAULT 'fallback' CHECK (on_exhausted IN ('fallback','wait','kill')),
	enabled boolean NOT NULL DEFAULT true,
	CHECK ((scope = 'all') = (target = '*')),
	CHECK (num_nonnulls(cap_cost, cap_calls) > 0));
COMMENT ON TABLE agentpay.budgets IS 'hard caps: what does not fit is refused before it is spent';
COMMENT ON COLUMN agentpay.budgets.target IS 'the role, point, agent or cost center; ''*'' for scope all';
COMMENT ON COLUMN agentpay.budgets.period IS 'sliding; month: 30 days; transaction: all agents, tiers and retries of one payment together';
COMMENT ON COLUMN agentpay.budgets.cap_cost IS 'USD';
COMMENT ON COLUMN agentpay.budgets.on_exhausted IS 'fallback: the rules stand; wait: the task waits for room; kill: the scope''s switch is engaged';
SELECT pg_catalog.pg_extension_config_dump('agentpay.budgets', '');

CREATE TABLE agentpay.kill_switches (
	scope text NOT NULL CHECK (scope IN ('all','role','point','agent')),
	target text NOT NULL DEFAULT '*',
	engaged boolean NOT NULL DEFAULT false,
	reason text,
	changed_by name NOT NULL DEFAULT session_user,
	changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (scope, target),
	CHECK ((scope = 'all') = (target = '*')));
INSERT INTO agentpay.kill_switches (scope, target) VALUES
	('all','*'), ('role','fraud'), ('role','routing'),
	('role','reconciliation'), ('role','dispute');
COMMENT ON TABLE agentpay.kill_switches IS 'UPDATE ... SET engaged = true is the whole procedure; rows come and go with points and agents';
COMMENT ON COLUMN agentpay.kill_switches.changed_by IS 'by trigger';
COMMENT ON COLUMN agentpay.kill_switches.changed_at IS 'by trigger';
-- Seeded rows that nobody touched come with CREATE EXTENSION; the others are
-- dumped, and restored over the seeded ones (see 15_configuration_checks.sql).
SELECT pg_catalog.pg_extension_config_dump('agentpay.kill_switches',
	'WHERE engaged OR reason IS NOT NULL OR scope NOT IN (''all'', ''role'')');

CREATE TABLE agentpay.gates (
	agent text NOT NULL DEFAULT '*',
	metric text NOT NULL CHECK (metric IN ('labelled_samples','coverage','agreement','accuracy_vs_rules','fpr_vs_rules',
		'fnr_vs_rules','cost_per_decision','cost_variation','p95_latency_ms','inference_variance','calibration_error','sign_off','compliance')),
	bound numeric NOT NULL,
	min_samples int NOT NULL DEFAULT 200 CHECK (min_samples >= 0),
	confidence numeric NOT NULL DEFAULT 0.95 CHECK (confidence > 0 AND confidence < 1),
	enabled boolean NOT NULL DEFAULT true,
	PRIMARY KEY (agent, metric));
COMMENT ON TABLE agentpay.gates IS 'what must hold before promote() lets an agent''s verdicts take effect, or on more rows; rollout_status shows how each stands';
COMMENT ON COLUMN agentpay.gates.agent IS '*: every agent without its own row for the metric';
COMMENT ON COLUMN agentpay.gates.bound IS 'minimum or maximum, fixed by the metric: see rollout_status.direction';
COMMENT ON COLUMN agentpay.gates.min_samples IS 'with fewer the gate is on hold';
COMMENT ON COLUMN agentpay.gates.confidence IS 'of the interval whose bound is compared';
COMMENT ON COLUMN agentpay.gates.enabled IS 'false: not asked for';

CREATE FUNCTION agentpay._usual_gates(OUT metric text, OUT bound numeric,
	OUT min_samples int) RETURNS SETOF record
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('labelled_samples', 500::numeric, 0),
		('accuracy_vs_rules', -0.01, 500), ('cost_variation', 1.0, 200),
		('sign_off', 1, 0)
$$;
REVOKE ALL ON FUNCTION agentpay._usual_gates() FROM PUBLIC;
INSERT INTO agentpay.gates (agent, metric, bound, min_samples)
SELECT '*', u.metric, u.bound, u.min_samples FROM agentpay._usual_gates() AS u;
-- As with kill_switches: those that came with CREATE EXTENSION and are as they
-- came are not dumped.
SELECT pg_catalog.pg_extension_config_dump('agentpay.gates',
	'WHERE NOT (agent = ''*'' AND enabled AND confidence = 0.95 AND (metric, bound, min_samples) IN (SELECT u.metric, u.bound, u.min_samples FROM agentpay._usual_gates() u))');

CREATE TABLE agentpay.guardrails (
	agent text NOT NULL DEFAULT '*',
	metric text NOT NULL CHECK (metric IN ('error_rate','timeout_rate','disagreement_rate','decline_rate','escalation_rate',
		'p95_latency_ms','cost_per_decision','burn_rate','psi','ks')),
	bound numeric NOT NULL,
	over interval NOT NULL DEFAULT '10 minutes',
	min_samples int NOT NULL DEFAULT 50 CHECK (min_samples > 0),
	action text NOT NULL DEFAULT 'alert' CHECK (action IN ('alert','roll_back','kill')),
	enabled boolean NOT NULL DEFAULT true,
	PRIMARY KEY (agent, metric, action));
COMMENT ON TABLE agentpay.guardrails IS 'what an agent may do as it goes, looked at each second; what goes beyond is alerted, rolled back or killed';
COMMENT ON COLUMN agentpay.guardrails.agent IS '''*'': every agent without a row of its own for the metric';
COMMENT ON COLUMN agentpay.guardrails.bound IS 'breached above it: a share from 0 to 1, milliseconds, USD a decision, USD an hour';
COMMENT ON COLUMN agentpay.guardrails.over IS 'the figure is of this long, up to now';
COMMENT ON COLUMN agentpay.guardrails.min_samples IS 'fewer in that time decide nothing';
SELECT pg_catalog.pg_extension_config_dump('agentpay.guardrails', '');
