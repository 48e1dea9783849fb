-- What was measured. A round of a mode has one row per arm.
CREATE SCHEMA bench;
CREATE TABLE bench.measurements (
	round int NOT NULL,
	mode text NOT NULL,
	arm text NOT NULL,
	ms double precision,	-- bulk: of the transaction
	cpu_ms double precision, -- bulk: of the backend; NULL: not known
	tps double precision,	-- pgbench: transactions per second
	PRIMARY KEY (round, mode, arm));
CREATE TABLE bench.arms (arm text PRIMARY KEY, place int NOT NULL);
INSERT INTO bench.arms VALUES ('bare', 1), ('floor', 2), ('floor_unchecked', 3),
	('ours', 4), ('plpgsql', 5), ('ours_windows', 6), ('plpgsql_windows', 7);
