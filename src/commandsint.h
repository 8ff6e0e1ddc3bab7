/* commandsint: what the files of the commands share. */
#ifndef COMMANDSINT_H
#define COMMANDSINT_H

#include "commandlist.h"
#include "commands.h"
#include "wire.h"

/* A handler for each: see control_fn. */
#define HANDLER(word, access, min, max, options, arguments, help) control_fn commands_##word;
COMMAND_LIST(HANDLER)
#undef HANDLER

/* The path beneath the live tree, whole or relative as it was given; "" is the tree itself.  One
 * that begins with a slash is not beneath it.  Caller holds the lock, or knows that site->live
 * stays. */
const char *commands_rel(const struct commands *c, const char *path);
/* Has it one spelling only?  Two of them would be two files to the queue and the ledger. */
bool commands_is_plain(const char *rel);
/* Why not, of a path as it was given.  Returns REFUSED. */
int commands_not_plain(struct control_call *call, struct commands *c, const char *path);
int commands_not_beneath(struct control_call *call, struct commands *c, const char *path);
/* A pattern as it was given, which may begin with the live tree's path or end with a slash, beneath
 * that tree: "" where it is the tree itself.  To free. */
char *commands_pattern(struct commands *c, const char *given);
/* Hands out each file in that state, beneath or like `pattern` (NULL: all).  Nothing is held while
 * `fn` has one, for a peer to which it is told may take its time; the first that is not 0 ends it.
 * 0, -ENOMEM, or that. */
typedef int commands_item_fn(const struct tally_item *item, void *arg);
int commands_each(struct commands *c, enum tally_state state, const char *pattern,
		  commands_item_fn *fn, void *arg, size_t *ret_count);
/* As list calls it. */
const char *commands_state(enum tally_state state);
/* A record of it. */
int commands_put_entry(struct control_call *call, const struct ledger_entry *entry);
/* "2026-11-23T09:00:00Z" */
void commands_time(int64_t ms, char *buffer, size_t size);

#endif
