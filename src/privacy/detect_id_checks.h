/*-------------------------------------------------------------------------
 * detect_id_checks.h
 *		Whether letters and digits of the right form are a state's number.
 *
 * Each gets them in upper case, without separators, terminated, in the
 * form that detect_ids.c gives.  Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DETECT_ID_CHECKS_H
#define AGENTPAY_DETECT_ID_CHECKS_H

#include <stdbool.h>

extern bool agentpay_id_us_ssn(const char *id);
extern bool agentpay_id_gb_nino(const char *id);
extern bool agentpay_id_gb_nhs(const char *id);
extern bool agentpay_id_de_tin(const char *id);
extern bool agentpay_id_fr_nir(const char *id);
extern bool agentpay_id_it_code(const char *id);
extern bool agentpay_id_es_dni(const char *id);
extern bool agentpay_id_es_nie(const char *id);
extern bool agentpay_id_nl_bsn(const char *id);
extern bool agentpay_id_pl_pesel(const char *id);
extern bool agentpay_id_se_number(const char *id);
extern bool agentpay_id_fi_hetu(const char *id);
extern bool agentpay_id_no_number(const char *id);
extern bool agentpay_id_be_number(const char *id);
extern bool agentpay_id_br_cpf(const char *id);
extern bool agentpay_id_in_aadhaar(const char *id);
extern bool agentpay_id_in_pan(const char *id);
extern bool agentpay_id_cn_resident(const char *id);
extern bool agentpay_id_ca_sin(const char *id);
extern bool agentpay_id_au_tfn(const char *id);
extern bool agentpay_id_pt_nif(const char *id);
extern bool agentpay_id_ch_ahv(const char *id);
extern bool agentpay_id_kr_rrn(const char *id);
extern bool agentpay_id_sg_nric(const char *id);
extern bool agentpay_id_mx_curp(const char *id);
extern bool agentpay_id_tr_tckn(const char *id);
extern bool agentpay_id_dk_cpr(const char *id);

#endif /* AGENTPAY_DETECT_ID_CHECKS_H */
