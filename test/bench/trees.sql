-- A model of 60 complete trees of depth 5 over three columns, as XGBoost
-- writes it, under ten names, and a rule for each that asks it (on), or that
-- reads the same columns (off). The splits are hashes of the node's number,
-- within what the columns hold.
-- Variables: trees.

CREATE TABLE bench.nodes AS
SELECT t.tree, node, node >= 31 AS leaf,
	   bench.draw(t.tree * 64 + node, 20, 3) AS input,
	   bench.draw(t.tree * 64 + node, 21, 2) AS default_left,
	   CASE WHEN node >= 31
			THEN (bench.draw(t.tree * 64 + node, 22, 2001) - 1000) / 8192.0
			ELSE bench.draw(t.tree * 64 + node, 23, 1000)
				 * (ARRAY[0.25, 1, 8])
				   [1 + bench.draw(t.tree * 64 + node, 20, 3)] END AS value
  FROM generate_series(0, 59) AS t (tree), generate_series(0, 62) AS node;

SELECT agentpay.load_model(format('trees%s', n), jsonb_build_object(
	'version', '[1, 7, 4]'::jsonb,
	'learner', jsonb_build_object(
		'feature_names', '[]'::jsonb, 'feature_types', '[]'::jsonb,
		'learner_model_param', jsonb_build_object('base_score', '5E-1',
			'num_class', '0', 'num_feature', '3', 'num_target', '1'),
		'objective', '{"name": "binary:logistic",
					   "reg_loss_param": {"scale_pos_weight": "1"}}'::jsonb,
		'gradient_booster', jsonb_build_object('name', 'gbtree',
			'model', jsonb_build_object(
				'gbtree_model_param', '{"num_trees": "60",
					"num_parallel_tree": "1",
					"size_leaf_vector": "0"}'::jsonb,
				'tree_info', (SELECT jsonb_agg(0) FROM generate_series(1, 60)),
				'trees', (SELECT jsonb_agg(tree ORDER BY t) FROM (
					SELECT tree AS t, jsonb_build_object(
						'id', tree,
						'left_children', jsonb_agg(CASE WHEN leaf THEN -1
							ELSE 2 * node + 1 END ORDER BY node),
						'right_children', jsonb_agg(CASE WHEN leaf THEN -1
							ELSE 2 * node + 2 END ORDER BY node),
						'parents', jsonb_agg(CASE node WHEN 0 THEN 2147483647
							ELSE (node - 1) / 2 END ORDER BY node),
						'split_indices', jsonb_agg(CASE WHEN leaf THEN 0
							ELSE input END ORDER BY node),
						'split_conditions', jsonb_agg(value ORDER BY node),
						'split_type', jsonb_agg(0 ORDER BY node),
						'default_left', jsonb_agg(default_left ORDER BY node),
						'base_weights', jsonb_agg(value ORDER BY node),
						'loss_changes', jsonb_agg(0 ORDER BY node),
						'sum_hessian', jsonb_agg(1 ORDER BY node),
						'categories', '[]'::jsonb,
						'categories_nodes', '[]'::jsonb,
						'categories_segments', '[]'::jsonb,
						'categories_sizes', '[]'::jsonb,
						'tree_param', '{"num_nodes": "63", "num_feature": "3",
							"num_deleted": "0", "size_leaf_vector": "0"}'::jsonb
						) AS tree
					  FROM bench.nodes GROUP BY tree) AS trees))))),
	'{amount,card_age_days,category}')
  FROM generate_series(0, 9) AS n;

INSERT INTO agentpay.rules (point, code, condition, score)
SELECT 'fraud', format('MODEL%s', n), CASE WHEN :'trees' = 'on'
	THEN format('model(''trees%s'') > 0.5', n)
	ELSE format('amount + card_age_days > category + %s', n) END, 60
  FROM generate_series(0, 9) AS n;
SELECT agentpay.activate('fraud');
