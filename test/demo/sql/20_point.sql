-- One question asked of each payment: is it fraud? And rules that answer it.
SELECT agentpay.attach('payments', point => 'fraud', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', outcome => 'outcome', score => 'risk_score',
	reasons => 'reasons') AS attached;

-- In this file the label of every payment is known, whatever was decided.
UPDATE agentpay.decision_points SET labels_complete = true
WHERE point = 'fraud';

-- What amounts are worth in the point's base currency: about the rate of that day.
INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate)
VALUES ('USD', 'EUR', '2013-09-01', 1.32);

-- How often the same amount was charged within ten minutes.
INSERT INTO agentpay.features (point, name, key, aggregate, over)
VALUES ('fraud', 'same_amount_10m', '{amount}', 'count', '10 minutes');

INSERT INTO agentpay.rules (point, code, condition, score, reason) VALUES
	('fraud', 'V14_VERY_LOW', 'v14 < -5', 100, 'component 14 far below the usual'),
	('fraud', 'V4_VERY_HIGH', 'v4 > 4', 60, 'component 4 far above the usual'),
	('fraud', 'V12_LOW', 'v12 < -3', 40, 'component 12 below the usual'),
	('fraud', 'LARGE_AMOUNT', 'amount > 1000', 50, 'more than 1,000 EUR'),
	('fraud', 'AMOUNT_REPEATED', 'same_amount_10m >= 3 AND amount > 5', 40,
		'the same amount three times in ten minutes');
UPDATE agentpay.rulesets SET thresholds = '{"review": 50, "decline": 100}'
WHERE point = 'fraud' AND state = 'draft';
\echo
\echo These rules score each payment; from 50 on it is reviewed, from 100 on declined.
SELECT code, condition, score, reason FROM agentpay.rules
WHERE point = 'fraud' ORDER BY score DESC, code;
SELECT agentpay.activate('fraud') AS active_version;
