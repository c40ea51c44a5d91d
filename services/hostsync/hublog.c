#include "hostsync/hublog.h"

#include "common/base/log.h"

bool hublog_is_away(int err)
{
	return err == ERR_NETWORK || err == ERR_TIMEOUT || err == ERR_TLS || err == ERR_UNAVAILABLE ||
	       err == ERR_BUSY || err == ERR_RATE;
}

void hublog_hub(struct hublog *log, int err, const struct hubclient_failure *failure, uint32_t attempts)
{
	if (err && !log->away)
		log_warn("hub away, the last good state stays", LOG_ERR(err), LOG_I64("status", failure->status),
			 LOG_STR("detail", failure->why.text));
	else if (err)
		log_debug("hub still away", LOG_ERR(err), LOG_STR("detail", failure->why.text));
	else if (log->away)
		log_info("hub is back", LOG_U64("after_attempts", attempts));
	log->away = err < 0;
}

void hublog_silo(struct silo_state *state, int err, const struct hubclient_failure *failure)
{
	if (err == state->err)
		return;
	if (err == ERR_NOT_FOUND)
		log_warn("the hub has no such silo: its records leave the hosts file", LOG_STR("silo", state->silo.id),
			 LOG_U64("records", state->silo.count));
	else if (err == 0)
		log_info("silo can be read again", LOG_STR("silo", state->silo.id));
	else
		log_warn("silo cannot be read, its last good state stays", LOG_STR("silo", state->silo.id),
			 LOG_ERR(err), LOG_I64("status", failure->status), LOG_STR("detail", failure->why.text));
	state->err = err;
}
