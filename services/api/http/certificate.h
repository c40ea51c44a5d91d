/*
 * A certificate with its key, as the HTTP server presents it. One that has been loaded never changes; it is counted, as
 * the connections that were greeted with it need it until they end. Thread-safe.
 */
#ifndef SILODNS_API_HTTP_CERTIFICATE_H
#define SILODNS_API_HTTP_CERTIFICATE_H

#include <stdatomic.h>
#include <stdint.h>

#include <gnutls/gnutls.h>

#include "common/base/err.h"

struct certificate {
	gnutls_certificate_credentials_t credentials;
	int64_t expires_us;     /* wall clock */
	atomic_uint references; /* for the functions below only */
};

/*
 * From two PEM files: the certificate, then those that lead from it to its CA; and its private key, without a
 * passphrase. Refused with a sentence that names the file: what cannot be read or is no PEM, a key of another
 * certificate, a certificate that is not valid yet or any more. ERR_INVALID, ERR_SYSTEM, ERR_NOMEM.
 */
int certificate_load(const char *cert_file, const char *key_file, struct certificate **ret_certificate,
		     struct why *ret_why);
struct certificate *certificate_ref(struct certificate *certificate);
void certificate_unref(struct certificate *certificate); /* NULL is allowed */

#endif
