/*
 * What it costs to find out who asks once a password has been verified: the hub's own function, called again and again
 * with a header that it knows.
 */
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "api/auth/authenticator.h"
#include "api/auth/password.h"
#include "api/model/change.h"
#include "api/store/store_state.h"
#include "common/base/clock.h"
#include "lib/program.h"

static const char password[] = "a-password-of-some-length";

static struct store *make_store(void)
{
	struct change change = {.kind = CHANGE_USER_PUT, .subject = "admin", .revision = 1};
	struct store *store = store_new();

	if (!store)
		program_fail("out of memory");
	change.user = (struct user){.id = 1, .role = ROLE_ADMIN, .revision = 1};
	snprintf(change.user.name, sizeof change.user.name, "admin");
	if (password_hash(password, strlen(password), change.user.password_hash))
		program_fail("cannot hash");
	store_replace_take(store, store_state_new(), "identity", 0);
	if (store_apply(store, (struct change *[]){&change}, 1, 1))
		program_fail("cannot make a user");
	return store;
}

static void must_know(struct authenticator *access, const char *header)
{
	struct authenticator_call call = {.peer = NULL};
	struct principal principal;
	struct why why;

	if (authenticator_check(access, header, &call, &principal, &why))
		program_fail("not known: %s", why.text);
}

int main(int argc, char **argv)
{
	char text[64], header[128] = "Basic ";
	long duration_ms = 1000, calls = 0;
	const struct flag flags[] = {{.name = "duration-ms", .number = &duration_ms}};
	struct authenticator *access;

	program_flags(argc, argv, flags, sizeof flags / sizeof flags[0]);
	if (sodium_init() < 0)
		program_fail("libsodium");
	struct store *store = make_store();
	if (authenticator_new(store, NULL, &access))
		program_fail("out of memory");
	snprintf(text, sizeof text, "admin:%s", password);
	sodium_bin2base64(header + 6, sizeof header - 6, (const unsigned char *)text, strlen(text),
			  sodium_base64_VARIANT_ORIGINAL);
	must_know(access, header);
	int64_t started = clock_mono_us(), now = started;
	for (; now < started + duration_ms * 1000; now = clock_mono_us())
		for (int i = 0; i < 1000; i++, calls++)
			must_know(access, header);
	program_print_take(
		json_pack("{s:I, s:f}", "calls", (json_int_t)calls, "us", (double)(now - started) / (double)calls));
	authenticator_free(access);
	store_free(store);
	return 0;
}
