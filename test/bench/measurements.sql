-- What was measured. A round of a mode has one row per arm.
CREATE SCHEMA bench;
CREATE TABLE bench.measurements (
	round int NOT NULL,
	mode text NOT NULL,
	arm text NOT NULL,
	rows bigint NOT NULL,
	ms double precision,	-- bulk: of the transaction
	cpu_ms double precision, -- bulk: of the backend; NULL: not known
	tps double precision,	-- pgbench: transactions per second
	bytes double precision, -- what stat_velocity says
	PRIMARY KEY (round, mode, arm));
CREATE TABLE bench.arms (arm text PRIMARY KEY, place int NOT NULL);
INSERT INTO bench.arms VALUES ('bare', 1), ('floor', 2), ('floor_unchecked', 3),
	('ours', 4), ('plpgsql', 5), ('plpgsql_merged', 6), ('rules_10', 7),
	('rules_1000', 8), ('trees_off', 9), ('trees_on', 10), ('key_10', 11),
	('key_1000000', 12);
