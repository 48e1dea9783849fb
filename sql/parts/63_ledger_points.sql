-- 63_ledger_points.sql
--		What create_ledger() asks of its tables: four points, their starter
--		features and rules, and the data policies of their columns.
--
-- Where a point of the name is left over from a dropped ledger that decided
-- nothing, it goes on: features are written over, rules are a new version.

CREATE FUNCTION agentpay._ledger_attach(schema_name name) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay.attach(format('%I.payments', schema_name)::regclass,
		point => 'fraud', role => 'fraud', id => 'payment_id',
		occurred_at => 'created_at', amount => 'amount',
		currency => 'currency', subject => 'customer_id',
		outcome => 'outcome', score => 'risk_score', reasons => 'reasons');
	SELECT agentpay.attach(format('%I.payments', schema_name)::regclass,
		point => 'routing', role => 'routing', id => 'payment_id',
		occurred_at => 'created_at', amount => 'amount',
		currency => 'currency', subject => 'customer_id', outcome => 'route',
		verdicts => '{acquirer_a,acquirer_b,acquirer_c}');
	SELECT agentpay.attach(format('%I.settlements', schema_name)::regclass,
		point => 'reconciliation', role => 'reconciliation',
		id => 'settlement_id', occurred_at => 'settled_at',
		amount => 'amount', currency => 'currency', outcome => 'outcome',
		reasons => 'reasons');
	SELECT agentpay.attach(format('%I.disputes', schema_name)::regclass,
		point => 'dispute', role => 'dispute', id => 'dispute_id',
		occurred_at => 'received_at', amount => 'amount',
		currency => 'currency', outcome => 'outcome', reasons => 'reasons');
$$;
REVOKE ALL ON FUNCTION agentpay._ledger_attach(name) FROM PUBLIC;

-- What the verdicts mean, as agents read it.  Where somebody has written a
-- description already, that stays.
CREATE FUNCTION agentpay._ledger_descriptions() RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE agentpay.verdicts v SET description = d.description
	  FROM (VALUES
		('fraud', 'approve', 'let it through'),
		('fraud', 'review', 'a person looks at it first'),
		('fraud', 'decline', 'refuse it'),
		('reconciliation', 'matched', 'settled as expected'),
		('reconciliation', 'exception', 'a person has to look at it'),
		('dispute', 'accept', 'bear the loss'),
		('dispute', 'contest', 'refute the claim with evidence'),
		('dispute', 'escalate', 'a person decides'))
		AS d (point, verdict, description)
	 WHERE v.point = d.point AND v.verdict = d.verdict
	   AND v.description IS NULL
$$;
REVOKE ALL ON FUNCTION agentpay._ledger_descriptions() FROM PUBLIC;

-- Amounts of different currencies do not add up: the key has the currency.
CREATE FUNCTION agentpay._ledger_features(schema_name name) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO agentpay.features (point, name, kind, from_table, key,
		from_time, aggregate, value, over, filter, include_current)
	SELECT f.point, f.name, f.kind,
		   CASE WHEN f.from_table IS NOT NULL
		   THEN format('%I.%I', schema_name, f.from_table)::regclass END,
		   f.key::text[], f.from_time, f.aggregate, f.value,
		   f.over::interval, f.filter, f.include_current
	  FROM (VALUES
		('fraud', 'card_payments_1h', 'window', NULL, '{card_id}', NULL,
			'count', NULL, '1 hour', NULL, true),
		('fraud', 'card_countries_1d', 'window', NULL, '{card_id}', NULL,
			'count_distinct', 'ip_country', '1 day', NULL, true),
		('fraud', 'card_since_last', 'since_last', NULL, '{card_id}', NULL,
			NULL, NULL, NULL, NULL, true),
		('fraud', 'card_declines_1h', 'window', 'route_attempts',
			'{card_id}', 'attempted_at', 'count', NULL, '1 hour',
			'response = ''declined''', true),
		('fraud', 'customer_spend_1d', 'window', NULL,
			'{customer_id,currency}', NULL, 'sum', 'amount', '1 day', NULL,
			true),
		('fraud', 'customer_average_30d', 'window', NULL,
			'{customer_id,currency}', NULL, 'avg', 'amount', '30 days', NULL,
			false),
		('fraud', 'merchant_attempts_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'count', NULL, '10 minutes',
			NULL, true),
		('fraud', 'merchant_declines_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'rate', 'response = ''declined''',
			'10 minutes', NULL, true),
		('routing', 'acquirer_a_attempts_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'count', NULL, '10 minutes',
			'route = ''acquirer_a''', true),
		('routing', 'acquirer_a_failures_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'rate',
			'response IN (''error'', ''timeout'')', '10 minutes',
			'route = ''acquirer_a''', true),
		('routing', 'acquirer_b_attempts_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'count', NULL, '10 minutes',
			'route = ''acquirer_b''', true),
		('routing', 'acquirer_b_failures_10m', 'window', 'route_attempts',
			'{merchant_id}', 'attempted_at', 'rate',
			'response IN (''error'', ''timeout'')', '10 minutes',
			'route = ''acquirer_b''', true),
		('reconciliation', 'authorised_amount', 'lookup', 'payments',
			'{payment_id}', NULL, NULL, 'amount', NULL, NULL, true),
		('reconciliation', 'authorised_currency', 'lookup', 'payments',
			'{payment_id}', NULL, NULL, 'currency', NULL, NULL, true),
		('reconciliation', 'captured_amount', 'lookup', 'captures',
			'{capture_id}', NULL, NULL, 'amount', NULL, NULL, true),
		('reconciliation', 'captured_currency', 'lookup', 'captures',
			'{capture_id}', NULL, NULL, 'currency', NULL, NULL, true),
		('reconciliation', 'capture_settlements', 'window', NULL,
			'{capture_id}', NULL, 'count', NULL, '400 days', NULL, true),
		('dispute', 'payment_authenticated', 'lookup', 'payments',
			'{payment_id}', NULL, NULL, 'authenticated', NULL, NULL, true),
		('dispute', 'payment_refunds', 'window', 'refunds', '{payment_id}',
			'refunded_at', 'count', NULL, '400 days', NULL, true),
		('dispute', 'payment_reversals', 'window', 'reversals',
			'{payment_id}', 'reversed_at', 'count', NULL, '400 days', NULL,
			true))
		AS f (point, name, kind, from_table, key, from_time, aggregate, value,
			  over, filter, include_current)
		ON CONFLICT (point, name) DO UPDATE
	   SET kind = excluded.kind, from_table = excluded.from_table,
		   key = excluded.key, from_time = excluded.from_time,
		   aggregate = excluded.aggregate, value = excluded.value,
		   over = excluded.over, filter = excluded.filter,
		   include_current = excluded.include_current
$$;
REVOKE ALL ON FUNCTION agentpay._ledger_features(name) FROM PUBLIC;

-- In mode score, rules with a verdict tighten; in first_match, the first one
-- by priority decides.
CREATE FUNCTION agentpay._ledger_rules() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	versions jsonb := '{}';
	point_name text;
BEGIN
	INSERT INTO agentpay.lists (name, description)
	VALUES ('blocked_cards', 'card_id of cards that are never approved'),
		   ('disabled_routes', 'routes that nobody chooses now')
		ON CONFLICT (name) DO NOTHING;
	FOREACH point_name IN ARRAY ARRAY['fraud', 'routing', 'reconciliation',
									  'dispute'] LOOP
		WITH s AS (
			INSERT INTO agentpay.rulesets (point, version, mode, thresholds,
										   description)
			VALUES (point_name, NULL,
				CASE WHEN point_name IN ('fraud', 'reconciliation')
				THEN 'score' ELSE 'first_match' END,
				CASE point_name WHEN 'fraud'
				THEN '{"review": 50, "decline": 100}' ELSE '{}' END::jsonb,
				'starter rules of create_ledger()')
			RETURNING version)
		SELECT versions || jsonb_build_object(point_name, s.version)
		  INTO versions FROM s;
	END LOOP;
	INSERT INTO agentpay.rules (point, version, code, condition, score,
								verdict, reason, priority)
	SELECT r.point, (versions ->> r.point)::int, r.code, r.condition, r.score,
		   r.verdict, r.reason, r.priority
	  FROM agentpay._ledger_starter_rules() r;
	PERFORM agentpay.activate(v.key, v.value::int)
	   FROM jsonb_each_text(versions) AS v;
END$$;
REVOKE ALL ON FUNCTION agentpay._ledger_rules() FROM PUBLIC;

CREATE FUNCTION agentpay._ledger_starter_rules()
	RETURNS TABLE (point text, code text, condition text, score numeric,
				   verdict text, reason text, priority int)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('fraud', 'CARD_BLOCKED', 'in_list(''blocked_cards'', card_id)', 0,
		'decline', 'the card is on the list blocked_cards', 100),
	('fraud', 'CARD_BURST', 'card_payments_1h > 5', 60, NULL,
		'more than five payments with the card in an hour', 100),
	('fraud', 'CARD_DECLINED', 'card_declines_1h >= 3', 60, NULL,
		'issuers declined the card three times in an hour', 100),
	('fraud', 'CARD_COUNTRIES', 'card_countries_1d > 2', 50, NULL,
		'the card was used from more than two countries in a day', 100),
	('fraud', 'CARD_REPEATED', 'card_since_last < 10', 20, NULL,
		'less than ten seconds after the card''s last payment', 100),
	('fraud', 'CARD_TESTING',
		'merchant_attempts_10m >= 20 AND merchant_declines_10m > 0.5', 60,
		NULL, 'most attempts at the merchant are declined', 100),
	('fraud', 'OTHER_COUNTRY', 'card_country <> ip_country', 30, NULL,
		'the customer is not where the card is from', 100),
	('fraud', 'UNUSUAL_AMOUNT', 'amount > 5 * customer_average_30d', 40, NULL,
		'more than five times what the customer pays on average', 100),
	('fraud', 'UNUSUAL_SPEND',
		'customer_spend_1d > 10 * customer_average_30d', 30, NULL,
		'ten average payments of the customer in a day', 100),
	('routing', 'BOTH_FAIL',
		'(in_list(''disabled_routes'', ''acquirer_a'') OR acquirer_a_attempts_10m >= 10 AND acquirer_a_failures_10m > 0.5) AND (in_list(''disabled_routes'', ''acquirer_b'') OR acquirer_b_attempts_10m >= 10 AND acquirer_b_failures_10m > 0.5)',
		0, 'acquirer_c',
		'acquirer_a and acquirer_b fail for the merchant, or are disabled',
		10),
	('routing', 'A_FAILS',
		'in_list(''disabled_routes'', ''acquirer_a'') OR acquirer_a_attempts_10m >= 10 AND acquirer_a_failures_10m > 0.5',
		0, 'acquirer_b', 'acquirer_a fails for the merchant, or is disabled',
		20),
	('routing', 'AMEX',
		'network = ''amex'' AND NOT in_list(''disabled_routes'', ''acquirer_b'')',
		0, 'acquirer_b', 'an example: acquirer_b takes American Express', 30),
	('reconciliation', 'NO_AUTHORISATION', 'authorised_amount IS NULL', 0,
		'exception', 'the line names no known payment', 100),
	('reconciliation', 'NOT_CAPTURED', 'captured_amount IS NULL', 0,
		'exception', 'the line names no known capture', 100),
	('reconciliation', 'OVER_AUTHORISED',
		'captured_currency = authorised_currency AND captured_amount > authorised_amount',
		0, 'exception', 'more was captured than authorised', 100),
	('reconciliation', 'CURRENCY_DIFFERS', 'currency <> captured_currency', 0,
		'exception', 'settled in another currency than captured', 100),
	('reconciliation', 'AMOUNT_DIFFERS',
		'currency = captured_currency AND amount <> captured_amount', 0,
		'exception', 'settled another amount than captured', 100),
	('reconciliation', 'SETTLED_TWICE', 'capture_settlements > 1', 0,
		'exception', 'the capture was settled before', 100),
	('reconciliation', 'MATCHED',
		'currency = captured_currency AND amount = captured_amount', 0,
		'matched', 'settled as captured', 100),
	('dispute', 'DUE_SOON', 'respond_by < received_at + interval ''2 days''',
		0, 'escalate', 'less than two days to respond', 10),
	('dispute', 'CREDITED', 'payment_refunds + payment_reversals > 0', 0,
		'contest', 'refunded or reversed already: show the credit', 20),
	('dispute', 'LIABILITY_SHIFTED',
		'payment_authenticated AND (network = ''visa'' AND reason_code = ''10.4'' OR network = ''mastercard'' AND reason_code IN (''4837'', ''4863'') OR network = ''amex'' AND reason_code = ''F29'' OR network = ''discover'' AND reason_code = ''UA02'')',
		0, 'contest', 'fraud without the card, but the cardholder was authenticated',
		30),
	('dispute', 'SMALL',
		'amount < 15 AND currency IN (''EUR'', ''GBP'', ''USD'')', 0,
		'accept', 'costs less than contesting it', 40)
$$;
REVOKE ALL ON FUNCTION agentpay._ledger_starter_rules() FROM PUBLIC;

-- Keys that are not here, and references, never leave the database.
CREATE FUNCTION agentpay._ledger_policies(schema_name name) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO agentpay.data_policies (table_name, column_name, class,
										treatment, options)
	SELECT format('%I.%I', schema_name, d.table_name)::regclass, c.name,
		   d.class, d.treatment, d.options::jsonb
	  FROM (VALUES
		('payments', 'pii', 'mask', '{"keep_last": 4}', '{customer_id}'),
		('payments', 'pci', 'mask', '{"keep_last": 4}', '{card_id}'),
		('payments', 'financial', 'pass', '{}', '{amount}'),
		('payments', 'public', 'pass', '{}',
			'{created_at,merchant_id,terminal_id,channel,network,currency,card_country,ip_country,authenticated}'),
		('route_attempts', 'pci', 'mask', '{"keep_last": 4}', '{card_id}'),
		('route_attempts', 'public', 'pass', '{}',
			'{merchant_id,route,attempted_at,response}'),
		('captures', 'financial', 'pass', '{}', '{amount}'),
		('captures', 'public', 'pass', '{}', '{currency,captured_at}'),
		('settlements', 'financial', 'pass', '{}', '{amount,fee}'),
		('settlements', 'public', 'pass', '{}',
			'{acquirer,settled_at,currency}'),
		('reversals', 'financial', 'pass', '{}', '{amount}'),
		('reversals', 'public', 'pass', '{}', '{reversed_at,currency,reason}'),
		('refunds', 'financial', 'pass', '{}', '{amount}'),
		('refunds', 'public', 'pass', '{}', '{refunded_at,currency}'),
		('refunds', 'free_text', 'pass', '{}', '{reason}'),
		('disputes', 'financial', 'pass', '{}', '{amount}'),
		('disputes', 'public', 'pass', '{}',
			'{received_at,respond_by,network,reason_code,currency}'))
		AS d (table_name, class, treatment, options, columns)
	 CROSS JOIN LATERAL unnest(d.columns::name[]) AS c (name)
$$;
REVOKE ALL ON FUNCTION agentpay._ledger_policies(name) FROM PUBLIC;
