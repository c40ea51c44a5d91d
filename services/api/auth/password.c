#include "api/auth/password.h"

#include <string.h>
#include <sys/mman.h>

#include <sodium.h>

#include "api/model/token.h"

_Static_assert(PASSWORD_HASH_MAX == crypto_pwhash_STRBYTES, "the store must have room for a hash");

int password_check(const char *password, size_t len, struct why *ret_why)
{
	if (len < PASSWORD_LEN_MIN || len > PASSWORD_LEN_MAX)
		return why_set(ret_why, ERR_INVALID, "password", "a password has %d to %d bytes, this one has %zu",
			       PASSWORD_LEN_MIN, PASSWORD_LEN_MAX, len);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)password[i] < 0x20 || password[i] == 0x7f)
			return why_set(ret_why, ERR_INVALID, "password",
				       "a password must not hold control characters (byte %zu does)", i + 1);
	unsigned char hash[TOKEN_HASH_BYTES];
	if (token_hash_secret(password, len, hash))
		return why_set(ret_why, ERR_INVALID, "password", "is a token, which no password may look like");
	return ERR_OK;
}

int password_hash(const char *password, size_t len, char ret_hash[static PASSWORD_HASH_MAX])
{
	char hash[PASSWORD_HASH_MAX] = {0};

	if (crypto_pwhash_str_alg(hash, password, len, PASSWORD_OPSLIMIT, PASSWORD_MEMLIMIT,
				  crypto_pwhash_ALG_ARGON2ID13))
		return ERR_NOMEM;
	memcpy(ret_hash, hash, sizeof hash);
	return ERR_OK;
}

/* libsodium takes a want of memory for a wrong password. */
static bool has_memory(void)
{
	// cppcheck-suppress invalidFunctionArg
	void *memory = mmap(NULL, PASSWORD_MEMLIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory != MAP_FAILED && munmap(memory, PASSWORD_MEMLIMIT) == 0;
}

int password_verify(const char *hash, const char *password, size_t len, bool *ret_right)
{
	bool right = crypto_pwhash_str_verify(hash, password, len) == 0;

	if (!right && !has_memory())
		return ERR_NOMEM;
	*ret_right = right;
	return ERR_OK;
}

void password_random(size_t len, char *ret_text)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* no l, o, 0, 1 */

	for (size_t i = 0; i < len; i++)
		ret_text[i] = letters[randombytes_uniform(sizeof letters - 1)];
	ret_text[len] = '\0';
}
