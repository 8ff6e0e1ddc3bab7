/* commandlist: the daemon's commands in words.  The daemon puts its handlers to them, and rrdmergctl
 * shows them where no daemon runs. */
#ifndef COMMANDLIST_H
#define COMMANDLIST_H

/* COMMAND(name, access, least and most arguments, options, arguments as help shows them, help):
 * see struct control_command. */
#define COMMAND_LIST(COMMAND) \
	COMMAND(status, CONTROL_ASKS, 0, 0, NULL, "", \
		"How far it is, what was refused, whether the backup is still needed.") \
	COMMAND(history, CONTROL_ASKS, 0, 1, NULL, "[PATH]", \
		"What was merged, refused and undone, the latest first.") \
	COMMAND(merge, CONTROL_CHANGES, 1, 1, NULL, "PATH", \
		"Looks at a file now, also where it was undone.") \
	COMMAND(undo, CONTROL_CHANGES, 0, 1, "--all", "PATH | ID | --all", \
		"Makes unknown again what merges have filled.")

#endif
