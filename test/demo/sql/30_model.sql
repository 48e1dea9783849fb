-- A model from the payments so far and their labels. label_delay 0: the file
-- spans two days, and its labels are complete.
\echo Trained on the earlier 70 %, measured on the later 30 %, which it has not seen.
SELECT version, rows, frauds, converged, iterations, round(auc::numeric, 4) AS auc,
	round(average_precision::numeric, 4) AS average_precision,
	round(precision_at_100::numeric, 2) AS precision_at_100
FROM agentpay.train_logistic('card_fraud', 'fraud',
	'{amount,v1,v2,v3,v4,v5,v6,v7,v8,v9,v10,v11,v12,v13,v14,v15,v16,v17,v18,v19,v20,v21,v22,v23,v24,v25,v26,v27,v28}',
	label_delay => '0');
