# What the tests about agents share: a ledger with a point and agents, the test
# agent server, and waiting for something with a deadline.
package AgentpayTest;
use strict;
use warnings;
use Exporter 'import';
use File::Temp;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(new_ledger start_agents add_agent promote_fully role_page ask await await_tasks
  decisions journal worker_pid in_flight no_excess session);

my ($agents_pid, $agents_url);

# A cluster with agentpay preloaded.  Its timers are short, so that what only a
# timer finds is found soon.
sub new_ledger
{
	my ($name, $extra) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
max_worker_processes = 16
log_min_messages = info
fsync = off
@{[ $extra // '' ]}
CONF
	$node->start;
	make_ledger($node, 'postgres');
	return $node;
}

# payments.agent names who is asked about a row.
sub make_ledger
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (
	payment_id bigint PRIMARY KEY,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	agent text NOT NULL,
	amount numeric,
	memo text,
	outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'payment_id',
	occurred_at => 'created_at', amount => 'amount', currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('fraud', 'LARGE', 'amount > 10000', 'decline');
SELECT agentpay.activate('fraud');
INSERT INTO agentpay.data_policies VALUES ('payments', 'amount', 'financial', 'pass'), ('payments', 'memo', 'free_text', 'pass');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('hour', 'hour', 100), ('each', 'transaction', 1);
INSERT INTO agentpay.models (name, kind, features, definition)
	VALUES ('half', 'logistic', '{amount}', '{"intercept":0,"coefficients":[0],"mean":[0],"scale":[1]}');
SQL
	return;
}

# The test agent server; the same for all clusters of a test.
sub start_agents
{
	my $dir = File::Temp->newdir(CLEANUP => 1);
	my $port_file = "$dir/port";
	$agents_pid = fork();
	die "could not fork: $!" unless defined $agents_pid;
	if ($agents_pid == 0)
	{
		open(STDOUT, '>', "$dir/log");
		open(STDERR, '>&', \*STDOUT);
		exec('python3', "$ENV{AGENTPAY_TREE}/test/server/agent_server.py",
			'--port', '0', '--port-file', $port_file)
		  or POSIX::_exit(1);
	}
	await('the agent server listens', sub { -s $port_file });
	chomp(my $port = slurp_file($port_file));
	$agents_url = "http://127.0.0.1:$port";
	return $agents_url;
}

END
{
	my $status = $?;
	if ($agents_pid)
	{
		kill 'TERM', $agents_pid;
		waitpid($agents_pid, 0);
	}
	$? = $status;
}

# promote_fully($node, $name): from shadow to its last stage, without gates.
sub promote_fully
{
	my ($node, $name) = @_;
	$node->safe_psql('postgres', "UPDATE agentpay.gates SET enabled = false WHERE enabled;"
		  . " SELECT agentpay.promote(a.name) FROM agentpay.agents a, unnest(a.rollout_steps)"
		  . " WHERE a.name = '$name' AND a.stage = 'shadow'");
	return;
}

# docs/roles.md, and its blocks of SQL, for the test agent server.
sub role_page
{
	my ($url) = @_;
	my $page = slurp_file("$ENV{AGENTPAY_TREE}/docs/roles.md");
	my @blocks = $page =~ /^```sql\n(.*?)^```$/msg;
	foreach my $sql (@blocks)
	{
		$sql =~ s{https://api\.openai\.com/v1}{$url/role}g;
		$sql =~ s{https://api\.openai\.com}{$url}g;
		$sql =~ s/'env:OPENAI_API_KEY'/NULL/g;
	}
	return ($page, @blocks);
}

# An agent in shadow that is asked about the payments that name it.
sub add_agent
{
	my ($node, $name, %with) = @_;
	my $endpoint = delete $with{endpoint}
	  // "$agents_url/" . (delete $with{behaviour} // 'normal');
	my %row = (
		name => $name, point => 'fraud', protocol => 'openai', endpoint => $endpoint,
		model => 'test', fields => '{amount,memo}', invoke_when => "agent = '$name'",
		price_input_per_million => 1, price_output_per_million => 2,
		max_output_tokens => 500, stage => 'shadow', %with);
	if ($row{protocol} eq 'builtin')
	{
		$row{model} = 'half';
		delete @row{qw(endpoint fields price_input_per_million price_output_per_million)};
	}
	else
	{
		my ($origin) = $endpoint =~ m{^(https?://[^/]+)};
		$node->safe_psql('postgres',
			"INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('$origin') ON CONFLICT DO NOTHING");
	}
	my @columns = grep { defined $row{$_} } sort keys %row;
	my $values = join ', ', map { "\$v\$$row{$_}\$v\$" } @columns;
	$node->safe_psql('postgres',
		"INSERT INTO agentpay.agents (@{[ join ', ', @columns ]}) VALUES ($values)");
	return;
}

# Payments with these ids come in, in one transaction, for this agent.
sub ask
{
	my ($node, $agent, $first, $last, $amount) = @_;
	$amount //= 12.5;
	$node->safe_psql('postgres', ask_sql($agent, $first, $last // $first, $amount));
	return;
}

sub ask_sql
{
	my ($agent, $first, $last, $amount) = @_;
	return "INSERT INTO payments (payment_id, agent, amount)"
	  . " SELECT g, '$agent', $amount FROM generate_series($first, $last) AS g";
}

# Polls until the condition holds; fails the test otherwise.
sub await
{
	my ($what, $condition, $seconds) = @_;
	my $deadline = time + ($seconds // 60);
	until ($condition->())
	{
		if (time > $deadline)
		{
			fail("in time: $what");
			return 0;
		}
		sleep 0.02;
	}
	return 1;
}

# Until no task is open.
sub await_tasks
{
	my ($node, $seconds) = @_;
	return if await('every task is done',
		sub { $node->safe_psql('postgres', 'SELECT count(*) FROM agentpay.queue_status') eq '0' },
		$seconds);
	diag($node->safe_psql('postgres', 'TABLE agentpay.queue_status'));
	diag($node->safe_psql('postgres', 'TABLE agentpay.stat_workers'));
	return;
}

# What became of an agent's tasks: kind, failure, verdict, answer, number.
sub decisions
{
	my ($node, $agent) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT kind, failure, verdict, answer, count(*) FROM agentpay.decisions
 WHERE agent = '$agent' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
SQL
}

# The calls that the agent server has seen for a behaviour.
sub journal
{
	my ($behaviour) = @_;
	my $answer = HTTP::Tiny->new->get("$agents_url/journal");
	die "no journal: $answer->{status} $answer->{content}" unless $answer->{success};
	return grep { $_->{behaviour} eq $behaviour }
	  map { decode_json($_) } split /\n/, $answer->{content};
}

sub worker_pid
{
	my ($node, $worker) = @_;
	return $node->safe_psql('postgres',
		"SELECT pid FROM agentpay.stat_workers WHERE worker = '$worker' AND pid IS NOT NULL");
}

sub in_flight
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		"SELECT coalesce(sum(in_flight), 0) FROM agentpay.stat_workers WHERE worker = 'dispatcher'");
}

# A session that stays open: $run->('SQL') returns what it prints, $run->()
# ends it.
sub session
{
	my ($node, $database) = @_;
	my ($in, $out, $n) = ('', '', 0);
	my $psql = IPC::Run::start(
		[ 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($database // 'postgres') ],
		'<', \$in, '>', \$out, '2>&1', IPC::Run::timeout(120));
	return sub {
		my ($sql) = @_;
		if (!defined $sql)
		{
			# the server may be gone
			eval { $in .= "\\q\n"; $psql->finish; };
			return;
		}
		my $end = 'end of ' . ++$n;
		$out = '';
		$in .= "$sql;\n\\echo '$end'\n";
		$psql->pump until $out =~ /^\Q$end\E$/m;
		$out =~ s/^\Q$end\E\n//m;
		chomp $out;
		return $out;
	};
}

# Nothing is spent beyond a cap, no hold is left open, and each task has one
# decision and each payment one of the rules.
sub no_excess
{
	my ($node, $when) = @_;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM agentpay.budget_invariant'),
		'0', "$when: settled and held stay within every cap");
	is($node->safe_psql('postgres', "SELECT count(*) FROM agentpay.budget_holds WHERE state = 'held'"),
		'0', "$when: no hold is left");
	is($node->safe_psql('postgres', <<'SQL'), '', "$when: the totals are the sums of the holds");
WITH totals AS (
	SELECT budget, sum(settled) AS settled, sum(held) AS held, sum(uncertain) AS uncertain, sum(calls) AS calls
	  FROM (SELECT budget, settled, held, uncertain, calls FROM agentpay._budget_totals
			UNION ALL
			SELECT budget, settled, held, uncertain, calls FROM agentpay._budget_changes) AS x
	 GROUP BY budget)
SELECT t.budget FROM totals t
  LEFT JOIN agentpay._holds h ON h.budget = t.budget
 GROUP BY t.budget, t.settled, t.held, t.uncertain, t.calls
HAVING (t.settled, t.held, t.uncertain, t.calls) IS DISTINCT FROM (
	coalesce(sum(h.settled_cost) FILTER (WHERE h.state = 'settled'), 0),
	coalesce(sum(h.bound_cost) FILTER (WHERE h.state = 'held'), 0),
	coalesce(sum(h.settled_cost) FILTER (WHERE h.state = 'uncertain'), 0), count(h.budget))
SQL
	is($node->safe_psql('postgres', <<'SQL'), '', "$when: one decision for each task");
SELECT t.task_id, count(d.decision_id) FROM agentpay._tasks t
  LEFT JOIN agentpay.decisions d ON d.point = t.point AND d.row_id = t.row_id
   AND d.agent = t.agent AND d.kind IN ('agent', 'fallback')
   AND d.detail ->> 'task_id' = t.task_id::text
 GROUP BY 1 HAVING count(d.decision_id) <> 1 ORDER BY 1
SQL
	is($node->safe_psql('postgres', <<'SQL'), '', "$when: one rules decision for each payment");
SELECT p.payment_id, count(d.decision_id) FROM payments p
  LEFT JOIN agentpay.decisions d ON d.row_id = p.payment_id::text AND d.kind = 'rules'
 GROUP BY 1 HAVING count(d.decision_id) <> 1 ORDER BY 1
SQL
	return;
}

1;
