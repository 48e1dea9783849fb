-- The authors' values, as they come in their file: one row a payment. Every
-- mode's database is a copy of this one.
CREATE EXTENSION agentpay;
CREATE SCHEMA handbook;
CREATE TABLE handbook.answers (id int,
	customer_n_1d float8, customer_avg_1d float8, customer_n_7d float8, customer_avg_7d float8,
	customer_n_30d float8, customer_avg_30d float8,
	terminal_n_1d float8, terminal_risk_1d float8, terminal_n_7d float8, terminal_risk_7d float8,
	terminal_n_30d float8, terminal_risk_30d float8);
\copy handbook.answers from 'answers.csv' csv
ALTER TABLE handbook.answers ADD PRIMARY KEY (id);
ANALYZE handbook.answers;
