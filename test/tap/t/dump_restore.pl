# A dump restores with no error into another cluster: configuration, logs,
# sequences and changed seed rows intact; the copy is held, and calls nobody,
# until adopt() (FAULTS 39; INTERNALS 15 and 16).
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# An agent that only has to notice that somebody connects.
my $agent = IO::Socket::INET->new(
	Listen => 16, LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp')
  or die "could not listen: $!";
my $agent_port = $agent->sockport;

sub start_cluster
{
	my ($name, $workers) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'agentpay'\n"
		  . "agentpay.workers_enabled = $workers\n"
		  . "agentpay.recheck_interval = 1\n");
	$node->start;
	return $node;
}

my $logs_and_configuration = join ' UNION ALL ', map {
	"SELECT '$_', count(*)::text, md5(string_agg(x::text, ',' ORDER BY x::text))"
	  . " FROM agentpay.$_ x"
} qw(decision_points verdicts features rulesets rules lists list_entries models
  allowed_endpoints agents data_policies budgets outcome_mappings agent_versions decisions
  _draw_salts _agent_salts authorities
  agent_calls outcomes governance_log _tasks _list_history);

# Seed rows that nobody changed are the new cluster's own: without the times.
my $summary = "$logs_and_configuration UNION ALL SELECT 'kill_switches',"
  . " count(*)::text, string_agg(format('%s.%s %s %s %s', scope, target,"
  . " engaged, reason, CASE WHEN reason IS NOT NULL THEN changed_at END), ','"
  . " ORDER BY scope, target) FROM agentpay.kill_switches"
  . " UNION ALL SELECT 'gates', count(*)::text, string_agg(g::text, ',' ORDER BY agent, metric) FROM agentpay.gates g"
  . " UNION ALL SELECT 'sequence', last_value::text, is_called::text"
  . " FROM agentpay._task_id_seq ORDER BY 1";

# Triggers by table: whether they fire, whatever session_replication_role is.
my $triggers = "SELECT tgrelid::regclass, string_agg(tgname || ' ' || tgenabled::text, ',' ORDER BY tgname)"
  . " FROM pg_trigger WHERE tgname LIKE '%agentpay%' GROUP BY 1 ORDER BY tgrelid::regclass::text COLLATE \"C\"";

my $held = "SELECT agentpay._held(), agentpay._restoring()";

# ── the ledger ──────────────────────────────────────────────────────────────
# Its workers stand still, so that a task stays open.
my $ledger = start_cluster('ledger', 'off');
$ledger->safe_psql('postgres', 'CREATE DATABASE empty');
$ledger->safe_psql('empty', 'CREATE EXTENSION agentpay');
$ledger->safe_psql('postgres', 'CREATE DATABASE ledger');
$ledger->safe_psql('ledger', <<"SQL");
CREATE EXTENSION agentpay;
CREATE TABLE payments (
	payment_id bigint PRIMARY KEY,
	created_at timestamptz NOT NULL DEFAULT now(),
	card text,
	amount numeric,
	outcome text);
CREATE INDEX ON payments (card, created_at);
CREATE TABLE parts (id bigint PRIMARY KEY, at timestamptz NOT NULL, outcome text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'payment_id',
	occurred_at => 'created_at', amount => 'amount', currency => 'USD', outcome => 'outcome');
SELECT agentpay.attach('payments', 'gone', 'fraud', 'payment_id', 'created_at');
SELECT agentpay.detach('gone');
SELECT agentpay.attach('parts', 'parts', 'fraud', 'id', 'at', outcome => 'outcome');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
INSERT INTO parts VALUES (90, '2026-01-01'), (190, '2026-01-01');
INSERT INTO agentpay.features (point, name, key, aggregate, over)
	VALUES ('fraud', 'card_hour', '{card}', 'count', '1 hour');
INSERT INTO agentpay.lists VALUES ('bad_cards');
INSERT INTO agentpay.list_entries (list, value) VALUES ('bad_cards', 'c1');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'LARGE', 'amount > 1000', 60), ('fraud', 'BUSY', 'card_hour > 5', 60);
SELECT agentpay.activate('fraud');
SELECT agentpay.draft('fraud');
UPDATE agentpay.decision_points SET explore_percent = 10, audit_sample_percent = 20 WHERE point = 'parts';
INSERT INTO agentpay.models (name, kind, features, definition)
	SELECT 'm', 'logistic', '{amount}', '{"intercept":0,"coefficients":[1],"mean":[0],"scale":[1]}'
	  FROM generate_series(1, 2);
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('http://127.0.0.1:$agent_port');
INSERT INTO agentpay.data_policies VALUES ('payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('hour', 'hour', 5), ('each', 'transaction', 1);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when,
	price_input_per_million, price_output_per_million)
VALUES ('llm', 'fraud', 'openai', 'http://127.0.0.1:$agent_port/v1', 'x', '{amount,card_hour}', 'true', 1, 2),
	('big_llm', 'fraud', 'openai', 'http://127.0.0.1:$agent_port/v1', 'y', '{amount}', 'true', 1, 2);
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 'llm';
UPDATE agentpay.agents SET escalate_to = 'big_llm' WHERE name = 'llm';
INSERT INTO agentpay.authorities (agent, verdict, max_amount, currency) VALUES ('big_llm', 'decline', 500, 'USD');
-- an agent beyond shadow, past gates that were changed
UPDATE agentpay.gates SET enabled = false WHERE metric <> 'cost_variation';
UPDATE agentpay.gates SET bound = 2, enabled = false WHERE metric = 'cost_variation';
INSERT INTO agentpay.gates (agent, metric, bound) VALUES ('big_llm', 'agreement', 0.9);
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when) VALUES ('inside', 'fraud', 'builtin', 'm', 'false');
SELECT agentpay.promote('inside'), agentpay.promote('inside'), agentpay.promote('inside');
-- seed rows that were changed, and changed back
UPDATE agentpay.kill_switches SET engaged = true, reason = 'incident 7' WHERE target IN ('routing', 'gone');
UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'dispute';
UPDATE agentpay.kill_switches SET engaged = false, reason = 'over' WHERE target = 'dispute';
UPDATE agentpay.outcome_mappings SET label = NULL WHERE network = 'visa' AND reason_code = '10.5';
UPDATE agentpay.outcome_mappings SET label = NULL WHERE network = 'amex' AND reason_code = 'F10';
UPDATE agentpay.outcome_mappings SET label = 'fraud' WHERE network = 'amex' AND reason_code = 'F10';
INSERT INTO agentpay.outcome_mappings VALUES ('jcb', '546', 'fraud');
-- payments that came by themselves, each with a task
INSERT INTO payments (payment_id, card, amount) VALUES (1001, 'c2', 10), (1002, 'c2', 2000);
-- one payment that was decided, and one whose agent has not answered
SELECT agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(), 'fraud', g::text, now(), 12.5, 'USD', 12.5,
	'rules', 'live', 'approve', NULL, 'treatment', 0, 1, 0, '{LARGE}', 1, NULL, NULL, NULL, NULL,
	'{"amount": 12.5}', 0, NULL, NULL, NULL, NULL, NULL, NULL)::agentpay.decisions) FROM generate_series(1, 3) g;
SELECT agentpay._append(ROW(nextval('agentpay._task_id_seq'), d.decided_at, d.point, d.row_id, d.decision_id,
	'llm', 2, NULL, agentpay._uuid_v7(), 0, NULL, 7, 70, false, NULL, NULL, NULL)::agentpay._tasks)
  FROM agentpay.decisions d WHERE d.row_id IN ('1', '2') ORDER BY d.row_id;
SELECT agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(), d.point, d.row_id, d.occurred_at, d.amount,
	d.currency, d.base_amount, 'agent', 'shadow', 'decline', 'decline', 'treatment', 0, 1, 90, '{x}', 1, 'llm', 2,
	0.9, NULL, NULL, 0.01, 5, NULL, '{"task_id": 3}', NULL, NULL, NULL)::agentpay.decisions)
  FROM agentpay.decisions d WHERE d.row_id = '1' AND d.kind = 'rules';
SELECT agentpay.record_outcome('fraud', 1, 'fraud', amount_lost => 12.5);
SQL
my $before = $ledger->safe_psql('ledger', $summary);
my $triggers_before = $ledger->safe_psql('ledger', $triggers);
like($triggers_before, qr/^parts_2\|~agentpay_record A,~agentpay_score A$/m, 'a partition that came later has the triggers');
unlike($triggers_before =~ s/agentpay_replicated R//gr, qr/ [ODR](,|$)/m, 'all fire always, but the one for what is replicated');
is($ledger->safe_psql('ledger', $held), 'f|f', 'the ledger itself is not held');
is($ledger->safe_psql('ledger', "SELECT outcome FROM payments ORDER BY payment_id"), "approve\nreview", 'payments were scored');

my $dir = $ledger->backup_dir;
mkdir $dir;
$ledger->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'ledger' ], 'plain dump');
$ledger->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", 'ledger' ], 'custom dump');
$ledger->command_ok([ 'pg_dump', '-f', "$dir/empty.sql", 'empty' ], 'dump of an unused extension');
unlike(slurp_file("$dir/plain.sql"), qr/COPY agentpay\._identity/, 'the identity is not dumped');
is(join('', slurp_file("$dir/plain.sql") =~ /^COPY agentpay\.outcome_mappings .*?;\n(.*?)^\\\./ms),
	"visa\t10.5\t\\N\njcb\t546\tfraud\n", 'nor a seed row that is as it came');

# ── restored elsewhere ──────────────────────────────────────────────────────
# Here they run: only that it is held keeps them from calling.
my $copy = start_cluster('copy', 'on');

sub check_restored
{
	my ($name) = @_;
	is($copy->safe_psql($name, $summary), $before, "$name: everything is as it was");
	is($copy->safe_psql($name, $triggers), $triggers_before, "$name: triggers too");
	is($copy->safe_psql($name, $held), 't|t', "$name: held");
}

$copy->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain custom parallel empty);
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", 'plain' ],
	'plain: restored with no error');
check_restored('plain');
$copy->command_ok([ 'pg_restore', '-e', '-d', 'custom', "$dir/custom" ], 'custom: restored with no error');
check_restored('custom');

# Whatever runs between CREATE EXTENSION and the first log makes no partition:
# it would be in the way of the dump's own, and all of its rows would be lost.
$copy->safe_psql('postgres', 'CREATE DATABASE between');
my ($head, $rest) = slurp_file("$dir/plain.sql") =~ /\A(.*?CREATE EXTENSION IF NOT EXISTS agentpay[^;]*;\n)(.*)\z/s;
append_to_file("$dir/head.sql", $head);
append_to_file("$dir/rest.sql", join('', grep { /^(\\restrict|SET|SELECT pg_catalog\.set_config)/ } split /^/, $head) . $rest);
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/head.sql", 'between' ], 'between: the extension');
$copy->poll_query_until('between', "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'between' AND backend_type LIKE 'agentpay governor%'")
  or die 'no governor came';
# two of its rounds
my $rounds = "SELECT coalesce(sum(xact_commit), 0) FROM pg_stat_database WHERE datname = 'between'";
my $commits = $copy->safe_psql('between', $rounds);
$copy->poll_query_until('between', "SELECT ($rounds) > $commits + 10") or die 'the governor stands still';
is($copy->safe_psql('between', "SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text LIKE 'agentpay.%'"), '0',
	'CREATE EXTENSION makes no partition, nor does a governor');
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/rest.sql", 'between' ],
	'between: restored with no error');
check_restored('between');

# pg_restore's parallel workers do not know the order of an extension's tables,
# so foreign keys may be missing their rows: the replica role lets them wait.
{
	local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
	$copy->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', 'parallel', "$dir/custom" ],
		'parallel: restored with no error');
}
check_restored('parallel');
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/empty.sql", 'empty' ],
	'an unused extension restores');
is($copy->safe_psql('empty', $held), 't|f', 'and waits for its first use, not for adopt()');

# ── held ────────────────────────────────────────────────────────────────────
my ($rc, $stdout, $stderr) = $copy->psql('plain', "SELECT agentpay.activate('fraud')");
isnt($rc, 0, 'a copy starts nothing');
like($stderr, qr/copy that waits for adopt\(\).*SELECT agentpay\.adopt\(\);/s, 'and says what to do');
$copy->safe_psql('plain', "UPDATE agentpay.budgets SET cap_cost = 6 WHERE name = 'hour'");
is($copy->safe_psql('plain', "SELECT count(*) FROM agentpay.governance_log WHERE action = 'update' AND object = 'hour'"),
	'0', 'a change while restoring is not logged');
is($copy->safe_psql('plain', <<'SQL'), 't', 'ON CONFLICT DO UPDATE of other tables returns its row');
INSERT INTO agentpay.lists VALUES ('bad_cards', 'x') ON CONFLICT (name) DO UPDATE SET description = 'x'
	RETURNING description = 'x';
INSERT INTO agentpay.lists VALUES ('bad_cards') ON CONFLICT (name) DO UPDATE SET description = NULL;
SQL

# payments go on, under rules alone
$copy->safe_psql('plain', "INSERT INTO payments (payment_id, card, amount) VALUES (2001, 'c3', 2000)");
is($copy->safe_psql('plain', "SELECT p.outcome, d.verdict, d.detail ->> 'held' FROM payments p JOIN agentpay.decisions d ON d.row_id = p.payment_id::text WHERE p.payment_id = 2001"),
	'review|review|true', 'a payment is decided by the rules, and says that it was held');
is($copy->safe_psql('plain', "SELECT count(*) FROM agentpay._tasks WHERE row_id = '2001'"), '0', 'without a question for an agent');
is($copy->safe_psql('plain', "SELECT count(*) FROM agentpay.decisions WHERE point = 'fraud' AND row_id IN ('1001', '1002') AND kind = 'rules'"),
	'2', 'what was restored was not scored again');

# ── adopted ─────────────────────────────────────────────────────────────────
# What the restore let in is checked now.
$copy->safe_psql('plain', "UPDATE agentpay.agents SET point = 'fraud', endpoint = 'https://elsewhere.example' WHERE name = 'llm'");
($rc, $stdout, $stderr) = $copy->psql('plain', 'SELECT agentpay.adopt()');
isnt($rc, 0, 'adopt() refuses a configuration that is wrong');
like($stderr, qr/INSERT INTO agentpay\.allowed_endpoints \(origin\) VALUES \('https:\/\/elsewhere\.example'\)/, 'with its mend');
is($copy->safe_psql('plain', $held), 't|t', 'and it stays held');
$copy->safe_psql('plain', "UPDATE agentpay.agents SET endpoint = 'http://127.0.0.1:$agent_port/v1' WHERE name = 'llm'");
$copy->safe_psql('plain', 'SELECT agentpay.adopt()');
is($copy->safe_psql('plain', $held), 'f|f', 'adopt() ends it');
is($copy->safe_psql('plain', "SELECT row_id, kind, failure, verdict, agent, agent_version, detail->>'task_id' FROM agentpay.decisions WHERE kind IN ('agent', 'fallback') ORDER BY row_id"),
	"1|agent||decline|llm|2|3\n1001|fallback|skipped|approve|llm|2|1\n1002|fallback|skipped|review|llm|2|2\n2|fallback|skipped|approve|llm|2|4",
	'open tasks are closed, once');
is($copy->safe_psql('plain', "SELECT count(*) FROM agentpay.governance_log WHERE action = 'adopt'"), '1', 'and it is on record');
# of all that was done to it while it was held, what is not as it was
my $changed = "SELECT action, object_kind, object, before ->> 'cap_cost', after ->> 'cap_cost' FROM agentpay.governance_log WHERE reason = 'changed while the database was held'";
is($copy->safe_psql('plain', $changed), 'update|budget|hour|5|6', 'and what was changed while it was held');
is($copy->safe_psql('plain', "SELECT reason FROM agentpay.governance_log WHERE action = 'adopt'"), '3 open tasks closed, 1 changes put on record', 'in figures');
is($copy->safe_psql('plain', "SELECT string_agg(DISTINCT version::text, ',') FROM agentpay.agent_versions WHERE agent = 'llm'"),
	'1,2', 'adopting makes no version');
is($copy->safe_psql('plain', "SELECT engaged, reason FROM agentpay.kill_switches WHERE target = 'routing'"), 't|incident 7',
	'an engaged switch did not come back open');
is($copy->safe_psql('plain', "SELECT nextval('agentpay._task_id_seq')"), '5', 'the sequence goes on');
$copy->safe_psql('plain', "UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
$copy->safe_psql('plain', "INSERT INTO payments (payment_id, card, amount) VALUES (3001, 'c3', 2000)");
is($copy->safe_psql('plain', "SELECT count(*) FROM agentpay._tasks WHERE row_id = '3001'"), '1', 'agents are asked again');
($rc, $stdout, $stderr) = $copy->psql('plain', 'DROP TABLE agentpay.decisions_' . $copy->safe_psql('plain', "SELECT to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM')"));
like($stderr, qr/append-only: DROP refused/, 'its logs are guarded again');

# Rules of an active version, which nobody can change in a ledger, and a seed
# row: on record, so that what was decided before still replays.
my $replayed = "SELECT string_agg(state, ',') FROM agentpay.decisions d, agentpay.replay(d.decision_id) WHERE d.row_id IN ('1001', '1002') AND d.kind = 'rules'";
is($copy->safe_psql('custom', $replayed), 'identical,identical', 'a held copy replays');
$copy->safe_psql('custom', <<'SQL');
SET timezone = 'Asia/Kolkata';
UPDATE agentpay.rules SET condition = 'amount > 5' WHERE code = 'LARGE' AND version = 1;
DELETE FROM agentpay.rules WHERE code = 'BUSY' AND version = 1;
INSERT INTO agentpay.rules (point, version, code, condition, score) VALUES ('fraud', 1, 'NEW', 'amount > 0', 60);
UPDATE agentpay.gates SET min_samples = 1 WHERE agent = '*' AND metric = 'sign_off';
UPDATE agentpay.agents SET escalate_to = NULL WHERE name = 'llm';
SELECT agentpay.adopt();
SQL
is($copy->safe_psql('custom', $changed . ' ORDER BY object_kind, object'),
	"update|agent|llm||\nupdate|gate|*.sign_off||\ndelete|rule|fraud.1.BUSY||\nupdate|rule|fraud.1.LARGE||\ninsert|rule|fraud.1.NEW||",
	'adopt() puts on record what was changed, came and went, and nothing else');
is($copy->safe_psql('custom', "SELECT before ->> 'condition', after ->> 'condition' FROM agentpay.governance_log WHERE object = 'fraud.1.LARGE' AND action = 'update' ORDER BY logged_at DESC LIMIT 1"),
	'amount > 1000|amount > 5', 'as it was and as it is');
is($copy->safe_psql('custom', $replayed), 'identical,identical', 'what was decided before replays by what the rules were');
is($copy->safe_psql('custom', "SELECT version, definition ->> 'escalate_to' IS NULL FROM agentpay.agent_versions WHERE agent = 'llm' ORDER BY version DESC LIMIT 1"), '3|t', 'an agent that was changed has a version');

# two sessions at once: one adopts
my $first = $copy->background_psql('parallel', on_error_die => 1);
$first->query_safe('BEGIN; SELECT agentpay.adopt();');
my $second = IPC::Run::start([ 'psql', '-X', '-d', $copy->connstr('parallel'), '-c', 'SELECT agentpay.adopt()' ], '>', \my $said, '2>&1');
$copy->poll_query_until('parallel', "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'agentpay._identity'::regclass") or die 'nobody waits';
$first->query_safe('COMMIT;');
$first->quit;
IPC::Run::finish($second);
like($said, qr/NOTICE:  this database is the ledger already/, 'the second finds it done');
is($copy->safe_psql('parallel', "SELECT count(*) FROM agentpay.governance_log WHERE action = 'adopt'"), '1', 'once');

# a dump of the adopted database restores too
$copy->command_ok([ 'pg_dump', '-f', "$dir/again.sql", 'plain' ], 'dump of the copy');
$copy->safe_psql('postgres', 'CREATE DATABASE again');
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/again.sql", 'again' ], 'restored again');
is($copy->safe_psql('again', $held), 't|t', 'and held');

# ── CREATE DATABASE ... TEMPLATE, in one cluster ────────────────────────────
$ledger->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE ledger');
is($ledger->safe_psql('twin', $held), 't|t', 'a twin in the same cluster is held');
is($ledger->safe_psql('ledger', $held), 'f|f', 'the ledger is not');
$ledger->safe_psql('twin', 'SELECT agentpay.adopt()');
is($ledger->safe_psql('twin', $held), 'f|f', 'until it is adopted');
is($ledger->safe_psql('twin', $changed), '', 'with nothing changed');
$ledger->safe_psql('twin', 'CREATE ROLE clerk; GRANT USAGE ON SCHEMA agentpay TO clerk');
($rc, $stdout, $stderr) = $ledger->psql('twin', "SET ROLE clerk; SELECT agentpay.adopt()");
like($stderr, qr/permission denied for function adopt/, 'which is not for everybody');

ok(!IO::Select->new($agent)->can_read(0), 'nobody called the agent');

$copy->safe_psql('plain', 'DROP EXTENSION agentpay CASCADE');
is($copy->safe_psql('plain', "SELECT count(*) FROM pg_class WHERE relnamespace = 'agentpay'::regnamespace"), '0',
	'DROP EXTENSION takes the leaves along');

done_testing();
