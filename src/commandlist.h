/* commandlist: the daemon's commands in words.  The daemon puts its handlers to them, and
 * rrdmergctl shows them where no daemon runs. */
#ifndef COMMANDLIST_H
#define COMMANDLIST_H

/* COMMAND(name, access, least and most arguments, options, arguments as help shows them, help):
 * see struct control_command. */
#define COMMAND_LIST(COMMAND) \
	COMMAND(status, CONTROL_ASKS, 0, 0, NULL, "[--wait]", \
		"How far it is, what was refused, whether the backup is still needed.") \
	COMMAND(list, CONTROL_ASKS, 0, 2, NULL, COMMAND_STATES " [PATTERN]", \
		"The files in that state, or all, with the reason where one was refused.") \
	COMMAND(show, CONTROL_ASKS, 1, 2, NULL, "PATH [COLUMNS]", \
		"All of one file: its state, sources, merges, and its time line.") \
	COMMAND(history, CONTROL_ASKS, 0, 1, NULL, "[PATH]", \
		"What was merged, refused and undone, the latest first.") \
	COMMAND(merge, CONTROL_CHANGES, 1, 1, NULL, "PATH", \
		"Looks at a file now, also where it was undone.") \
	COMMAND(undo, CONTROL_CHANGES, 0, 1, "--all", "PATH | ID | --all", \
		"Makes unknown again what merges have filled.") \
	COMMAND(rescan, CONTROL_CHANGES, 0, 0, NULL, "", \
		"Looks through the live tree and the backups now.") \
	COMMAND(forget, CONTROL_CHANGES, 0, 1, "--undo", "[--undo] [PATTERN]", \
		"Waits no more for files of the backup that will never appear; or shows which.") \
	COMMAND(pause, CONTROL_CHANGES, 0, 0, NULL, "", \
		"Begins no merge until resume, or until the daemon is started again.") \
	COMMAND(resume, CONTROL_CHANGES, 0, 0, NULL, "", \
		"Merges again.") \
	COMMAND(reload, CONTROL_CHANGES, 0, 0, NULL, "", \
		"Reads the configuration again.")

/* What a file can be in, as list has it. */
#define COMMAND_STATES "[merged|unchanged|skipped|waiting|forgotten|refused|failed|pending]"

#endif
