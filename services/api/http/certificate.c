#include "api/http/certificate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gnutls/x509.h>
#include <sodium.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#define CHAIN_MAX 16

static void wipe(gnutls_datum_t *pem)
{
	if (pem->data)
		sodium_memzero(pem->data, pem->size);
	gnutls_free(pem->data);
}

static int read_pem(const char *path, gnutls_datum_t *ret_pem, struct why *ret_why)
{
	if (gnutls_load_file(path, ret_pem) < 0)
		return why_set(ret_why, ERR_SYSTEM, "", "%s cannot be read: %s", path, strerror(errno));
	return ERR_OK;
}

static int check_dates(const char *path, gnutls_x509_crt_t leaf, int64_t *ret_expires_us, struct why *ret_why)
{
	char text[CLOCK_TEXT_MAX];
	int64_t from_us = (int64_t)gnutls_x509_crt_get_activation_time(leaf) * 1000000;
	int64_t until_us = (int64_t)gnutls_x509_crt_get_expiration_time(leaf) * 1000000;
	int64_t now_us = clock_wall_us();

	clock_format(now_us < from_us ? from_us : until_us, text);
	if (now_us < from_us)
		return why_set(ret_why, ERR_INVALID, "", "the certificate in %s is valid from %s only", path, text);
	if (now_us >= until_us)
		return why_set(ret_why, ERR_INVALID, "", "the certificate in %s expired at %s: renew it", path, text);
	*ret_expires_us = until_us;
	return ERR_OK;
}

static int inspect_chain(const char *path, const gnutls_datum_t *pem, int64_t *ret_expires_us, struct why *ret_why)
{
	gnutls_x509_crt_t chain[CHAIN_MAX];
	unsigned count = CHAIN_MAX;
	int found = gnutls_x509_crt_list_import(chain, &count, pem, GNUTLS_X509_FMT_PEM,
						GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);

	if (found < 1)
		return why_set(ret_why, ERR_INVALID, "", "%s holds no certificate in PEM form: %s", path,
			       gnutls_strerror(found < 0 ? found : GNUTLS_E_NO_CERTIFICATE_FOUND));
	int err = check_dates(path, chain[0], ret_expires_us, ret_why);
	for (int i = 0; i < found; i++)
		gnutls_x509_crt_deinit(chain[i]);
	return err;
}

static int refuse_pair(const char *cert_file, const char *key_file, int code, struct why *ret_why)
{
	switch (code) {
	case GNUTLS_E_CERTIFICATE_KEY_MISMATCH:
		return why_set(ret_why, ERR_INVALID, "", "the key in %s is not that of the first certificate in %s",
			       key_file, cert_file);
	case GNUTLS_E_DECRYPTION_FAILED:
		return why_set(ret_why, ERR_INVALID, "",
			       "the key in %s is encrypted: store it without a passphrase, readable by the hub alone",
			       key_file);
	case GNUTLS_E_MEMORY_ERROR:
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	default:
		return why_set(ret_why, ERR_INVALID, "", "%s holds no private key in PEM form that fits %s: %s",
			       key_file, cert_file, gnutls_strerror(code));
	}
}

static void cleanup_certificate(struct certificate **certificate)
{
	certificate_unref(*certificate);
}

int certificate_load(const char *cert_file, const char *key_file, struct certificate **ret_certificate,
		     struct why *ret_why)
{
	_cleanup_(wipe) gnutls_datum_t cert = {0};
	_cleanup_(wipe) gnutls_datum_t key = {0};
	_cleanup_(cleanup_certificate) struct certificate *certificate = calloc(1, sizeof *certificate);

	if (!certificate)
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	atomic_init(&certificate->references, 1);
	if (gnutls_certificate_allocate_credentials(&certificate->credentials))
		return why_set(ret_why, ERR_NOMEM, "", "out of memory");
	int err = read_pem(cert_file, &cert, ret_why);
	if (!err)
		err = read_pem(key_file, &key, ret_why);
	if (!err)
		err = inspect_chain(cert_file, &cert, &certificate->expires_us, ret_why);
	if (err)
		return err;
	int code = gnutls_certificate_set_x509_key_mem2(certificate->credentials, &cert, &key, GNUTLS_X509_FMT_PEM,
							NULL, 0);
	if (code < 0)
		return refuse_pair(cert_file, key_file, code, ret_why);
	*ret_certificate = TAKE_PTR(certificate);
	return ERR_OK;
}

struct certificate *certificate_ref(struct certificate *certificate)
{
	atomic_fetch_add(&certificate->references, 1);
	return certificate;
}

void certificate_unref(struct certificate *certificate)
{
	if (!certificate || atomic_fetch_sub(&certificate->references, 1) > 1)
		return;
	if (certificate->credentials)
		gnutls_certificate_free_credentials(certificate->credentials);
	free(certificate);
}
