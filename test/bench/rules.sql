-- Many rules over the row's own columns, of five kinds in turn, hardly any of
-- which matches.
-- Variables: rules.

INSERT INTO agentpay.rules (point, code, condition, score)
SELECT 'fraud', format('R%s', to_char(n, 'FM0000')),
	   CASE n % 5
	   WHEN 0 THEN format('amount > %s', 1500 + n)
	   WHEN 1 THEN format('country = %L AND card_age_days < %s',
						  chr(65 + n % 26) || chr(65 + n / 26 % 26),
						  10 + n % 900)
	   WHEN 2 THEN format('category = %s AND amount > %s', 4000 + n, n)
	   WHEN 3 THEN format('channel = ''web'' AND amount BETWEEN %s AND %s',
						  2000 + n, 2001 + n)
	   ELSE format('card_age_days = %s AND country <> card_country', n) END, 1
  FROM generate_series(1, :rules) AS n;
SELECT agentpay.activate('fraud');
