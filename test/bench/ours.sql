-- Ten rules over the row's own columns and six windows on two keys.

INSERT INTO agentpay.features (point, name, kind, key, aggregate, value, over)
VALUES
	('fraud', 'card_count_1d', 'window', '{card_id}', 'count', NULL, '1 day'),
	('fraud', 'card_sum_7d', 'window', '{card_id}', 'sum', 'amount', '7 days'),
	('fraud', 'card_avg_30d', 'window', '{card_id}', 'avg', 'amount', '30 days'),
	('fraud', 'terminal_count_1d', 'window', '{terminal_id}', 'count', NULL,
	 '1 day'),
	('fraud', 'terminal_sum_7d', 'window', '{terminal_id}', 'sum', 'amount',
	 '7 days'),
	('fraud', 'terminal_avg_30d', 'window', '{terminal_id}', 'avg', 'amount',
	 '30 days');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'CARD_NEW', 'card_age_days < 7', 15),
	('fraud', 'COUNTRY_RISKY', 'country IN (''NG'', ''BR'')', 25),
	('fraud', 'COUNTRY_OTHER', 'country <> card_country', 20),
	('fraud', 'AMOUNT_LARGE', 'amount > 500', 40),
	('fraud', 'AMOUNT_ROUND', 'amount >= 100 AND amount = trunc(amount)', 15),
	('fraud', 'NIGHT', 'extract(hour FROM created_at) < 5', 10),
	('fraud', 'CARD_BUSY', 'card_count_1d >= 4', 30),
	('fraud', 'CARD_SPEND', 'card_sum_7d > 1000', 20),
	('fraud', 'CARD_UNUSUAL', 'amount > 5 * card_avg_30d', 15),
	('fraud', 'TERMINAL_UNUSUAL', 'terminal_count_1d >= 3'
	 ' AND terminal_sum_7d > 5 * terminal_avg_30d', 15);
SELECT agentpay.activate('fraud');
