-- Ten rules over the row's own columns.

SELECT agentpay.attach('public.payments', point => 'fraud', role => 'fraud',
	id => 'payment_id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', subject => 'card_id', outcome => 'outcome',
	score => 'risk_score', reasons => 'reasons');

INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'CARD_NEW', 'card_age_days < 7', 15),
	('fraud', 'COUNTRY_RISKY', 'country IN (''NG'', ''BR'')', 25),
	('fraud', 'COUNTRY_OTHER', 'country <> card_country', 20),
	('fraud', 'CATEGORY_RISKY', 'category IN (7995, 6051)', 25),
	('fraud', 'AMOUNT_LARGE', 'amount > 500', 40),
	('fraud', 'AMOUNT_HUGE', 'amount > 1500', 40),
	('fraud', 'AMOUNT_ROUND', 'amount >= 100 AND amount = trunc(amount)', 15),
	('fraud', 'AMOUNT_TINY', 'amount < 1', 5),
	('fraud', 'NIGHT', 'extract(hour FROM created_at) < 5', 10),
	('fraud', 'WEB_LARGE', 'channel = ''web'' AND amount > 100', 10);
UPDATE agentpay.rulesets SET thresholds = '{"review":50,"decline":100}'
 WHERE point = 'fraud';
\if :windows
INSERT INTO agentpay.features (point, name, kind, key, aggregate, value, over)
VALUES
	('fraud', 'count_1h', 'window', '{card_id}', 'count', NULL, '1 hour'),
	('fraud', 'sum_24h', 'window', '{card_id}', 'sum', 'amount', '24 hours'),
	('fraud', 'since_last', 'since_last', '{card_id}', NULL, NULL, NULL);
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'WINDOW_COUNT', 'count_1h >= 2', 30),
	('fraud', 'WINDOW_SUM', 'sum_24h > 1000', 25),
	('fraud', 'WINDOW_SOON', 'since_last < 600', 15);
\endif
SELECT agentpay.activate('fraud');
