-- One card with a million payments in thirty days, and two thousand with ten;
-- then the point, with a window of thirty days; then one more payment of each,
-- so that all of them have been read once.

CREATE SEQUENCE bench.ids;

-- Payments from..until of each of the cards, with that much time between two;
-- the one after the window's first is 30 days later.
CREATE FUNCTION bench.pay(first_card bigint, last_card bigint, first_no bigint,
						  last_no bigint, apart interval) RETURNS void
	LANGUAGE sql
AS $$
	INSERT INTO public.payments (payment_id, created_at, card_id, terminal_id,
		amount, currency, country, card_country, category, channel,
		card_age_days)
	SELECT nextval('bench.ids'),
		   timestamptz '2026-01-01 00:00:00+00' + n * apart, card, n,
		   10 + bench.draw(n, card::int, 9000) / 100.0, 'USD', 'US', 'US', 5411,
		   'web', 100
	  FROM generate_series(first_no, last_no) AS n,
		   generate_series(first_card, last_card) AS card
$$;
SELECT bench.pay(1, 1, 1, 1000000, interval '30 days' / 1000000);
SELECT bench.pay(2, 2001, 1, 10, interval '3 days');
VACUUM ANALYZE public.payments;

\ir attach.sql
INSERT INTO agentpay.features (point, name, kind, key, aggregate, value, over)
VALUES ('fraud', 'card_count_30d', 'window', '{card_id}', 'count', NULL,
		'30 days'),
	('fraud', 'card_sum_30d', 'window', '{card_id}', 'sum', 'amount',
	 '30 days');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'MANY', 'card_count_30d > 1000 AND card_sum_30d > 0', 50);
SELECT agentpay.activate('fraud');
SELECT bench.pay(1, 1, 1000001, 1000001, interval '30 days' / 1000000);
SELECT bench.pay(2, 2001, 11, 11, interval '3 days');
