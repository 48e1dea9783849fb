# The documentation is complete and true: every public table, column, view,
# function, argument, setting and SQLSTATE is in docs/reference, nothing else
# is, every relative link resolves, and quickstart and tutorial print what they
# say.
use strict;
use warnings;
use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $tree = $ENV{AGENTPAY_TREE} || '.';
my $reference = "$tree/docs/reference";

my $node = PostgreSQL::Test::Cluster->new('documentation');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'agentpay'\ntimezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION agentpay');

# ── reading pages ───────────────────────────────────────────────────────────
# The sections of a page by the text of their ## heading.
sub sections
{
	my ($page) = @_;
	my %sections;
	my $name = '';
	foreach my $line (split /\n/, slurp_file("$reference/$page"))
	{
		$name = $1 if $line =~ /^## (.+)$/;
		$sections{$name} .= "$line\n";
	}
	return \%sections;
}

# The rows of a section's tables: what is in backquotes first, then the cells.
sub rows
{
	my ($section) = @_;
	my %rows;
	while (($section // '') =~ /^\| `([^`]+)` \|(.*)\|$/mg)
	{
		my ($name, $rest) = ($1, $2);
		push @{ $rows{$name} }, [ map { s/^\s+|\s+$//gr } split /\|/, $rest ];
	}
	return \%rows;
}

# SQL's lines, as lists of columns.
sub ask
{
	my ($sql) = @_;
	return map { [ split /\|/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', $sql);
}

# One test, with what is wrong as its diagnostics.
sub none
{
	my ($name, @problems) = @_;
	is(scalar(@problems), 0, $name) or diag(join "\n", @problems);
}

my $type = q{replace(replace(format_type(%s, NULL), 'timestamp with time zone', 'timestamptz'), 'integer', 'int')};

# ── tables, logs and views ──────────────────────────────────────────────────
foreach my $page (
	[ 'configuration.md', "c.relkind = 'r' AND c.relname NOT IN ('agent_versions', 'checkpoints')" ],
	[ 'logs.md', "(c.relkind = 'p' OR c.relname IN ('agent_versions', 'checkpoints'))" ],
	[ 'views.md', "c.relkind = 'v'" ])
{
	my ($file, $which) = @$page;
	my $sections = sections($file);
	my (@problems, %relations);
	foreach my $column (ask(sprintf(<<"SQL", sprintf($type, 'a.atttypid'))))
		SELECT c.relname, a.attname, %s
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		 WHERE c.relnamespace = 'agentpay'::regnamespace AND $which
		   AND c.relname !~ '^_' AND NOT c.relispartition
		   AND a.attnum > 0 AND NOT a.attisdropped
		 ORDER BY c.relname, a.attnum
SQL
	{
		my ($relation, $name, $wanted) = @$column;
		$relations{$relation}{$name} = 1;
		my $row = rows($sections->{$relation})->{$name};
		if (!defined $sections->{$relation})
		{
			push @problems, "there is no section $relation";
		}
		elsif (!$row)
		{
			push @problems, "$relation.$name is not there";
		}
		elsif ($row->[0][0] !~ /^\Q$wanted\E(,.*)?$/)
		{
			push @problems, "$relation.$name is $wanted, not $row->[0][0]";
		}
	}
	ok(%relations > 4, "$file: there are relations to document");
	none("$file names every column with its type", @problems);
	none("$file has no other section",
		grep { /^[a-z_]+$/ && !$relations{$_} } sort keys %$sections);
	none("$file has no other column", map {
			my $relation = $_;
			# a first cell that is no column is a value or an option
			map { "$relation.$_" } grep { !$relations{$relation}{$_} }
			  map { /^\| `(\w+)` \| (?:text|int|bigint|numeric|boolean|uuid|timestamptz|interval|jsonb|name|real|bytea|regclass|xid8|date|double precision)(?:\[\])?(?:,[^|]*)? \|/ ? $1 : () }
			  split /\n/, $sections->{$relation}
		} grep { $sections->{$_} } sort keys %relations);
}

# ── functions ───────────────────────────────────────────────────────────────
{
	my $sections = sections('functions.md');
	my (@problems, %functions);
	foreach my $function (ask(sprintf(<<'SQL', sprintf($type, 'u.type'))))
		SELECT p.proname, u.name, %s,
			   CASE WHEN u.ord > p.pronargs - p.pronargdefaults THEN 'default' END
		  FROM pg_proc p
		  LEFT JOIN LATERAL unnest(p.proargtypes::oid[], p.proargnames[:p.pronargs])
				WITH ORDINALITY AS u (type, name, ord) ON true
		 WHERE p.pronamespace = 'agentpay'::regnamespace AND p.proname !~ '^_'
		 ORDER BY p.proname, u.ord
SQL
	{
		my ($name, $argument, $wanted, $has_default) = @$function;
		$functions{$name} = 1;
		if (!defined $sections->{$name})
		{
			push @problems, "there is no section $name";
			next;
		}
		next if $argument eq '';
		$wanted = 'any' if $wanted eq '"any"';
		my ($row) = @{ rows($sections->{$name})->{$argument} // [] };
		push @problems, "$name: argument $argument $wanted is not there"
		  unless $row && $row->[0] eq $wanted;
		push @problems, "$name: whether $argument has a default"
		  if $row && ($row->[1] ne '') != ($has_default ne '');
	}
	ok(%functions > 5, 'functions.md: there are functions to document');
	none('functions.md names every function and argument', @problems);
	none('functions.md has no other function',
		grep { /^[a-z_]+$/ && !$functions{$_} } sort keys %$sections);
	my ($later) = ($sections->{'Not there yet'} // '') =~ /\n\n(.*)/s;
	none('what is not there yet is not there',
		grep { $functions{$_} } $later =~ /`(\w+)`/g);
}

# ── settings ────────────────────────────────────────────────────────────────
{
	my $rows = rows(slurp_file("$reference/settings.md"));
	my (@problems, %settings);
	foreach my $setting (ask(<<'SQL'))
		SELECT name, boot_val, coalesce(unit, ''), context, min_val, max_val, vartype
		  FROM pg_settings WHERE name LIKE 'agentpay.%'
SQL
	{
		my ($name, $default, $unit, $context, $low, $high, $kind) = @$setting;
		$settings{$name} = 1;
		my ($row) = @{ $rows->{$name} // [] };
		if (!$row)
		{
			push @problems, "$name is not there";
			next;
		}
		my ($said, $said_default, $range, $said_context) = @$row;
		$default = 'empty' if $default eq '';
		push @problems, "$name: default $default" if $said_default ne $default;
		push @problems, "$name: unit $unit" if $unit ne '' && $said !~ /, \Q$unit\E$/;
		push @problems, "$name: context $context" if $said_context ne $context;
		push @problems, "$name: range" if $kind eq 'integer' && $low >= 0 && $range ne "$low to $high";
	}
	none('settings.md names every setting, with default, unit, range and context', @problems);
	none('settings.md has no other', grep { /^agentpay\./ && !$settings{$_} } sort keys %$rows);
}

# ── SQLSTATEs ───────────────────────────────────────────────────────────────
{
	my $page = slurp_file("$reference/errors.md");
	my $sharedir = `pg_config --sharedir`;
	chomp $sharedir;
	my (%names, %conditions, %used);
	foreach my $line (split /\n/, slurp_file("$sharedir/errcodes.txt"))
	{
		next unless $line =~ /^(\w{5})\s+\w\s+(\w+)\s*(\w*)/;
		$names{$2} //= $1;
		$conditions{$3} //= $1 if $3 ne '';
	}
	find({ no_chdir => 1, wanted => sub {
			return unless /\.(c|h|sql)$/;
			# a category that is compared with is not raised
			my $text = slurp_file($_) =~ s/case MAKE_SQLSTATE//gr;
			$used{"$1$2$3$4$5"} = $_ while $text =~ /MAKE_SQLSTATE\(\s*'(\w)',\s*'(\w)',\s*'(\w)',\s*'(\w)',\s*'(\w)'\)/g;
			while ($text =~ /errcode\((ERRCODE_\w+)\)/g)
			{
				$used{ $names{$1} // "$1?" } = $_ unless $1 =~ /^ERRCODE_AGENTPAY_/;
			}
			$used{$1} = $_ while $text =~ /_refuse\(\s*'(\w{5})'/g;
			$used{ $conditions{$1} // "$1?" } = $_ while $text =~ /ERRCODE = '(\w+)'/g;
		} }, "$tree/src", "$tree/sql/parts");
	ok(%used > 20, 'there are SQLSTATEs to document');
	none('errors.md names every SQLSTATE',
		map { "$_ of $used{$_}" } grep { $page !~ /`$_`/ } sort keys %used);
}

# ── the allow-list ──────────────────────────────────────────────────────────
{
	my $names = slurp_file("$tree/src/scoring/expression_names.c");
	my $page = slurp_file("$tree/docs/security.md");
	my %listed;
	while ($names =~ /(functions|operators)\[\] = \{(.*?)\};/gs)
	{
		my ($which, $entries) = ($1, $2);
		$listed{$which} = () = $entries =~ /"[^"]+"/g;
	}
	like($page, qr/^- $listed{functions} functions and $listed{operators} operators/m,
		'security.md has their number');
}

# ── links ───────────────────────────────────────────────────────────────────
{
	my (@pages, @problems);
	find({ no_chdir => 1, wanted => sub {
			$File::Find::prune = 1 if -d && m{/(\.git|build|results|tmp_check)$};
			push @pages, $_ if /\.md$/;
		} }, $tree);
	foreach my $page (@pages)
	{
		my $text = slurp_file($page) =~ s/^```.*?^```//gmsr;
		while ($text =~ /\]\(([^)\s]+)\)/g)
		{
			my $link = $1;
			next if $link =~ m{^(https?|mailto):};
			my ($path, $anchor) = split /#/, $link, 2;
			my $target = $path eq '' ? $page : $page =~ s{[^/]*$}{}r . $path;
			if (!-e $target)
			{
				push @problems, "$page: $link";
				next;
			}
			next if !defined $anchor;
			my %anchors = map { lc(s/[^\w\- ]//gr =~ s/ /-/gr) => 1 }
			  slurp_file($target) =~ /^#+ (.+?)\s*$/mg;
			push @problems, "$page: $link" if !$anchors{$anchor};
		}
	}
	ok(@pages > 10, 'there are pages');
	none('every relative link resolves', @problems);
}

# ── the pages that are typed into psql ──────────────────────────────────────
# What differs from run to run.
sub settled
{
	my ($text) = @_;
	$text =~ s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/<uuid>/g;
	$text =~ s/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+\d\d/<time>/g;
	$text =~ s/_\d{4}_\d\d\b/<month>/g;
	$text =~ s/-{3,}/---/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/ $//gm;
	return $text =~ s/^\n+|\n+$//gr;
}

# Every block of the page in a database of its own prints what it says.
sub prints_what_it_says
{
	my ($name, $blocks, $asks) = @_;
	my $database = $name =~ s/\W/_/gr;
	my $page = slurp_file("$tree/docs/$name.md");
	my $rewritten = $page;
	my $block = 0;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	while ($page =~ /^```sql\n(.*?)^```\n```text\n(.*?)^```/gms)
	{
		my ($sql, $said) = ($1, $2);
		my $printed = '';
		$block++;
		# a worker answers: the page says "a moment later"
		if ($asks && $block > 1)
		{
			$node->poll_query_until($database, "SELECT count(*) = 0 FROM agentpay.tasks WHERE state <> 'done'")
			  or diag('tasks stay open');
		}
		IPC::Run::run([ 'psql', '-X', '-h', $node->host, '-p', $node->port, '-U', 'postgres', '-d', $database ],
			'<', \$sql, '>&', \$printed);
		if (!is(settled($printed), settled($said), "$name, block $block: " . ($sql =~ s/\s+/ /gr =~ s/^(.{60}).*/$1 …/r)))
		{
			my $prints = $printed =~ s/[ \t]+$//gmr =~ s/^\n+|\n+$//gr;
			$rewritten =~ s/(\Q$sql\E```\n```text\n)\Q$said\E/$1$prints\n/;
		}
	}
	ok($block >= $blocks, "$name has blocks");
	return if $rewritten eq $page;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$name.md";
	append_to_file($file, $rewritten);
	diag("as it prints now, it is $file");
	return;
}

$node->safe_psql('postgres', 'CREATE ROLE postgres SUPERUSER LOGIN')
  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_roles WHERE rolname = 'postgres'") eq '0';
prints_what_it_says('quickstart', 21, 1);
prints_what_it_says('tutorial-fraud-scenarios', 10, 0);

# ── the statements about agents ─────────────────────────────────────────────
# Each registers an agent; then those that look at one.
sub accepts_statements
{
	my ($name, $setup) = @_;
	my @blocks = slurp_file("$tree/docs/$name.md") =~ /^```sql\n(.*?)^```/gms;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, $setup);
	foreach my $sql ((grep { /INSERT/ } @blocks), grep { !/INSERT/ } @blocks)
	{
		my ($status, $out, $err) = $node->psql($name, $sql, on_error_stop => 1);
		ok($status == 0 && $err !~ /ERROR|WARNING/, "$name: " . ($sql =~ s/\s+/ /gr =~ s/^(.{60}).*/$1 …/r)) or diag($err);
	}
	return scalar @blocks;
}

cmp_ok(accepts_statements('agents', <<'SQL'), '>=', 10, 'there are statements about agents');
CREATE EXTENSION agentpay;
CREATE TABLE payments (payment_id bigint PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), amount numeric, country text, outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'payment_id', occurred_at => 'created_at',
	amount => 'amount', currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('card_fraud', 'logistic', '{amount}', '{"intercept":0,"coefficients":[1],"mean":[0],"scale":[1]}');
INSERT INTO payments (payment_id, amount, country) VALUES (4711, 12.5, 'NZ');
-- nobody is called
UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all';
SQL
is($node->safe_psql('agents', "SELECT string_agg(DISTINCT protocol, ' ' ORDER BY protocol) FROM agentpay.agents"),
	'anthropic bedrock builtin http openai', 'of every protocol');

# ── the outbox, by whom it is granted to ────────────────────────────────────
my $positions = slurp_file("$tree/docs/positions.md");
my ($consumer) = $positions =~ /^```sql\n(LISTEN agentpay_actions;.*?)^```/ms;
my ($grants) = $positions =~ /^```sql\n(GRANT [^`]*? ON agentpay\.actions .*?)^```/ms;
$node->safe_psql('agents', "CREATE ROLE payment_system; $grants");
my ($status, $out, $err) = $node->psql('agents', "SET ROLE payment_system;\n$consumer SELECT agentpay.await_decision('fraud', 4711)", on_error_stop => 1);
is("$status|$out|$err", '0|approve|', 'what the consumer of actions is granted is what it needs');

$node->stop;
done_testing();
