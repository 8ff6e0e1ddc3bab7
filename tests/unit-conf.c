/* conf: what is accepted, and that every problem is told in one line with file and line. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "conf.h"

/* libconfig 1.5 itself loses some bytes where a string is broken off. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static char *dir;               /* a fresh directory: live/ back/ two/ stand in it */
static char file[PATH_MAX];     /* the configuration in it */

/* What conf_read() reported, a line each: "E " or "W " and the message. */
static char told[65536];
static unsigned errors, warnings;

static void tell(int priority, const char *message, void *arg)
{
	size_t len = strlen(told);

	assert_ptr_equal(arg, &errors);
	assert_null(strchr(message, '\n'));
	assert_true(priority == LOG_ERR || priority == LOG_WARNING);
	if (priority == LOG_ERR)
		errors++;
	else
		warnings++;
	snprintf(told + len, sizeof(told) - len, "%c %s\n", priority == LOG_ERR ? 'E' : 'W',
		 message);
}

static int setup(void **state)
{
	static char template[PATH_MAX];
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX + 16];

	(void)state;
	snprintf(template, sizeof(template), "%s/conf.XXXXXX", tmp ? tmp : "/tmp");
	dir = realpath(mkdtemp(template), NULL);
	if (!dir)
		return -1;
	snprintf(file, sizeof(file), "%s/rrdmergd.conf", dir);
	for (const char *const *name = (const char *const[]){ "live", "back", "two", NULL };
	     *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", dir, *name);
		if (mkdir(path, 0755) < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	char command[PATH_MAX + 16];
	int rc;

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	rc = system(command);
	free(dir);
	return rc;
}

static void write_bytes(const char *path, const char *bytes, size_t len)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(bytes, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
}

/* `text` with each @ made the directory's path, into `to`. */
static void put_dir(char *to, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + strlen(dir) + 2 < size; text++) {
		if (*text == '@') {
			used += (size_t)snprintf(to + used, size - used, "%s", dir);
		} else {
			/* "~include" is written so that it is not taken for one. */
			to[used++] = *text == '~' ? '@' : *text;
		}
	}
	to[used] = '\0';
}

static int read_conf(struct conf *conf)
{
	told[0] = '\0';
	errors = warnings = 0;
	return conf_read(file, conf, tell, &errors);
}

static int read_text(struct conf *conf, const char *text)
{
	char full[32768];

	put_dir(full, sizeof(full), text);
	write_bytes(file, full, strlen(full));
	return read_conf(conf);
}

/* The text is accepted without a word. */
static struct conf good(const char *text)
{
	struct conf conf;
	int rc = read_text(&conf, text);

	if (rc || errors || warnings)
		fail_msg("%d for: %s\n%s", rc, text, told);
	return conf;
}

/* Exactly these messages, each without the configuration's own path, were reported. */
static void expect_told(const char *messages)
{
	char full[32768], beside[PATH_MAX + 4], *own;

	while ((own = strstr(told, file)))
		memmove(own, own + strlen(file), strlen(own + strlen(file)) + 1);
	/* Before an included file's name, libconfig 1.5 leaves the directory out. */
	snprintf(beside, sizeof(beside), "E %s/", dir);
	while ((own = strstr(told, beside)))
		memmove(own + 2, own + strlen(beside), strlen(own + strlen(beside)) + 1);
	put_dir(full, sizeof(full), messages);
	assert_string_equal(told, full);
}

static void expect(const char *text, int expected_rc, const char *messages)
{
	struct conf conf, before;
	int rc;

	memset(&conf, 0x5a, sizeof(conf));
	before = conf;
	rc = read_text(&conf, text);
	expect_told(messages);
	assert_int_equal(rc, expected_rc);
	if (rc)
		assert_memory_equal(&conf, &before, sizeof(conf));
	else
		conf_free(&conf);
}

static void expect_error(const char *text, const char *messages)
{
	expect(text, -EINVAL, messages);
}

#define LIVE "live = \"@/live\";\n"
#define BOTH LIVE "backup = \"@/back\";\n"

static void two_lines_are_enough(void **state)
{
	struct conf conf = good("live = \"@/live\";\nbackup = \"@/back\";\n");
	char path[PATH_MAX];

	(void)state;
	put_dir(path, sizeof(path), "@/live");
	assert_string_equal(conf.live, path);
	assert_int_equal(conf.backups, 1);
	put_dir(path, sizeof(path), "@/back");
	assert_string_equal(conf.backup[0], path);
	assert_true(conf.workers >= 1 && conf.workers <= 4);
	assert_true(conf.workers <= (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	assert_string_equal(conf.state_dir, "/var/lib/rrdmergd");
	assert_string_equal(conf.socket, "/run/rrdmergd/control.sock");
	assert_int_equal(conf.facility, LOG_DAEMON);
	assert_null(conf.user);
	assert_null(conf.rrdcached);
	assert_int_equal(conf.rescan_s, 900);
	conf_free(&conf);
	assert_null(conf.live);
	assert_null(conf.backup);
	conf_free(&conf);
	conf_free(NULL);
}

static void every_key(void **state)
{
	struct conf conf = good("socket=\"/a/b\"; workers : 64\nfacility = \"local3\"\n"
				"user = \"root\" rescan_interval = 0 "
				"state_dir = \"/s//\";\r\n# c\n// c\n/* c\n\n */ backup = "
				"( \"@/two\", \"@/back///\" ) live = \"@/li\" \"ve/\"\n");
	char path[PATH_MAX];

	(void)state;
	assert_string_equal(conf.socket, "/a/b");
	assert_string_equal(conf.state_dir, "/s");
	assert_int_equal(conf.workers, 64);
	assert_int_equal(conf.facility, LOG_LOCAL3);
	assert_string_equal(conf.user, "root");
	assert_int_equal(conf.rescan_s, 0);
	assert_int_equal(conf.backups, 2);
	put_dir(path, sizeof(path), "@/two");
	assert_string_equal(conf.backup[0], path);
	put_dir(path, sizeof(path), "@/back");
	assert_string_equal(conf.backup[1], path);
	put_dir(path, sizeof(path), "@/live");
	assert_string_equal(conf.live, path);
	conf_free(&conf);

	conf = good(LIVE "backup = [ \"@/back\" ]; workers = 1L;");
	assert_int_equal(conf.backups, 1);
	assert_int_equal(conf.workers, 1);
	conf_free(&conf);
}

static void syntax(void **state)
{
	(void)state;
	expect_error("# one\nlive = = 3;\n", "E :2: syntax error; correct this line, or the end "
		     "of the one before it\n");
	expect_error("live = /srv/x;\n", "E :1: syntax error; correct this line, or the end "
		     "of the one before it\n");
	expect_error(BOTH "workers = 2;\nlive = \"@/two\";\n", "E :4: duplicate setting name; "
		     "take one of the two out\n");
	expect_error(BOTH "\nworkers = 2;\nworkers = 2;", "E :5: duplicate setting name; "
		     "take one of the two out\n");
}

static void unknown_keys(void **state)
{
	(void)state;
	expect_error(BOTH "worker = 2;\nLive = \"x\";\nbakcup = \"/x\";\nstatedir = \"/\";\n"
		     "colour = \"blue\";\nfacilty = \"user\";\na_name_that_is_much_longer_than_any_of_the_known = 1;\n",
		     "E :3: unknown key \"worker\"; did you mean \"workers\"?\n"
		     "E :4: unknown key \"Live\"; did you mean \"live\"?\n"
		     "E :5: unknown key \"bakcup\"; did you mean \"backup\"?\n"
		     "E :6: unknown key \"statedir\"; did you mean \"state_dir\"?\n"
		     "E :7: unknown key \"colour\"; take it out, or see rrdmergd.conf(5) "
		     "for those there are\n"
		     "E :8: unknown key \"facilty\"; did you mean \"facility\"?\n"
		     "E :9: unknown key \"a_name_that_is_much_longer_than_any_of_the_known\"; "
		     "take it out, or see rrdmergd.conf(5) for those there are\n");
}

static void wrong_types(void **state)
{
	(void)state;
	expect_error("live = 5;\nbackup = true;\nworkers = \"2\";\nstate_dir = { a = 1; };\n"
		     "socket = [ \"/a\" ];\nfacility = 3.5;\n",
		     "E :1: \"live\" is a number and must be a path in quotes; write it like "
		     "live = \"/var/lib/pnp4nagios/perfdata\";\n"
		     "E :2: \"backup\" is true or false and must be a path in quotes; write it "
		     "like backup = \"/srv/restore/perfdata\";\n"
		     "E :3: \"workers\" is a string and must be a whole number; write it like "
		     "workers = 2;\n"
		     "E :4: \"state_dir\" is a group and must be a path in quotes; write it like "
		     "state_dir = \"/var/lib/rrdmergd\";\n"
		     "E :5: \"socket\" is a list and must be a path in quotes; write it like "
		     "socket = \"/run/rrdmergd/control.sock\";\n"
		     "E :6: \"facility\" is a number with a fraction and must be a name in "
		     "quotes; write it like facility = \"daemon\";\n");
	expect_error("live = [ \"@/live\" ];\nbackup = ( \"@/back\",\n 7,\n { a = 1; } );\n",
		     "E :1: \"live\" is a list and must be a path in quotes; write it like "
		     "live = \"/var/lib/pnp4nagios/perfdata\";\n"
		     "E :3: \"backup\" is a number and must be a path in quotes; write it like "
		     "backup = \"/srv/restore/perfdata\";\n"
		     "E :4: \"backup\" is a group and must be a path in quotes; write it like "
		     "backup = \"/srv/restore/perfdata\";\n");
}

#define NO_BACKUP "\"backup\" is empty; put the path of the restored RRD files there, like " \
	"backup = \"/srv/restore/perfdata\";\n"

static void missing_or_empty(void **state)
{
	(void)state;
	expect_error("", "E : \"live\" is missing; add a line like live = "
		     "\"/var/lib/pnp4nagios/perfdata\";\n"
		     "E : \"backup\" is missing; add a line like backup = "
		     "\"/srv/restore/perfdata\";\n");
	expect_error("live = \"\";\nbackup = \"\";\n",
		     "E :1: \"live\" is empty; put the path there, like live = "
		     "\"/var/lib/pnp4nagios/perfdata\";\n"
		     "E :2: " NO_BACKUP);
	expect_error(LIVE "\nbackup = [];\n", "E :3: " NO_BACKUP);
	expect_error(LIVE "backup = ();\n", "E :2: " NO_BACKUP);
	expect_error(LIVE "backup = [ \"@/back\",\n\"\" ];\n", "E :3: " NO_BACKUP);
	expect_error(BOTH "socket = \"\";\nstate_dir = \"\";\nfacility = \"\";\n",
		     "E :3: \"socket\" is empty; put the path there, like socket = "
		     "\"/run/rrdmergd/control.sock\";\n"
		     "E :4: \"state_dir\" is empty; put the path there, like state_dir = "
		     "\"/var/lib/rrdmergd\";\n"
		     "E :5: \"facility\" names no facility of syslog: \"\"; "
		     "use \"daemon\", \"user\" or \"local0\" to \"local7\"\n");
}

/* The file as installed gives one sentence, and is fine once the path is in it. */
static void as_installed(void **state)
{
	const char *top = getenv("top_srcdir");
	char path[PATH_MAX], text[32768], *place, *hash;
	char expected[] = NO_BACKUP;
	struct conf conf;
	size_t len;
	FILE *in;

	(void)state;
	snprintf(path, sizeof(path), "%s/etc/rrdmergd.conf", top ? top : ".");
	in = fopen(path, "r");
	if (!in)
		skip();         /* not run by make check, nor at the top of the sources */
	len = fread(text, 1, sizeof(text) - 1, in);
	text[len] = '\0';
	fclose(in);
	write_bytes(file, text, len);
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_int_equal(errors, 1);
	assert_non_null(place = strstr(told, "\"backup\""));
	assert_memory_equal(place, expected, strlen(expected));

	/* Its comments are the defaults, and can be taken for settings. */
	while ((hash = strstr(text, "\n#workers")) || (hash = strstr(text, "\n#state_dir"))
	       || (hash = strstr(text, "\n#rescan_interval")) || (hash = strstr(text, "\n#rate"))
	       || (hash = strstr(text, "\n#log_files"))
	       || (hash = strstr(text, "\n#socket")) || (hash = strstr(text, "\n#facility"))
	       || (hash = strstr(text, "\n#rrdcached")) || (hash = strstr(text, "\n#match"))
	       || (hash = strstr(text, "\n#rename")))
		hash[1] = ' ';
	assert_non_null(hash = strstr(text, "\n#   "));         /* the second rule */
	hash[1] = ' ';
	place = strstr(text, "\nbackup = \"\"");
	assert_non_null(place);
	memmove(place + 13, place + 11, strlen(place + 11) + 1);
	memcpy(place + 11, "/b", 2);
	write_bytes(file, text, strlen(text));
	assert_int_equal(read_conf(&conf), 0);
	assert_int_equal(errors, 0);
	assert_string_equal(conf.backup[0], "/b");
	assert_string_equal(conf.live, "/var/lib/pnp4nagios/perfdata");
	assert_string_equal(conf.state_dir, "/var/lib/rrdmergd");
	assert_string_equal(conf.socket, "/run/rrdmergd/control.sock");
	assert_string_equal(conf.rrdcached, "/run/rrdcached.sock");
	assert_int_equal(conf.facility, LOG_DAEMON);
	assert_int_equal(conf.match, CONF_MATCH_AUTO);
	assert_int_equal(conf.renames, 2);
	conf_free(&conf);
}

static void relative_paths(void **state)
{
	(void)state;
	expect_error("live = \"perf\\ndata\";\nbackup = [ \"../x\", \"./y\" ];\nsocket = \"s\";\n",
		     "E :1: \"live\" is a relative path: perf\\x0Adata; write the whole path, "
		     "beginning with /\n"
		     "E :2: \"backup\" is a relative path: ../x; write the whole path, "
		     "beginning with /\n"
		     "E :2: \"backup\" is a relative path: ./y; write the whole path, "
		     "beginning with /\n"
		     "E :3: \"socket\" is a relative path: s; write the whole path, "
		     "beginning with /\n");
}

#define SAME_AS_LIVE " are the same directory; name the restored copy, not the live tree, " \
	"as backup\n"
#define APART "; use directories that do not hold one another\n"

static void same_directory(void **state)
{
	char from[PATH_MAX], to[PATH_MAX];

	(void)state;
	expect_error(LIVE "backup = \"@/live//\";\n",
		     "E :2: \"live\" @/live and \"backup\" @/live" SAME_AS_LIVE);
	expect_error(LIVE "backup = \"@/back/../live/.\";\n",
		     "E :2: \"live\" @/live and \"backup\" @/back/../live/." SAME_AS_LIVE);
	put_dir(from, sizeof(from), "@/live");
	put_dir(to, sizeof(to), "@/two/link");
	assert_int_equal(symlink(from, to), 0);
	expect_error(LIVE "backup = [ \"@/back\",\n\"@/two/link\" ];\n",
		     "E :3: \"live\" @/live and \"backup\" @/two/link" SAME_AS_LIVE);
	expect_error(LIVE "backup = [ \"@/back\", \"@/two\",\n\"@/back/\" ];\n",
		     "E :3: \"backup\" @/back and \"backup\" @/back are the same directory; "
		     "name it once\n");
	/* What a pattern matches too was meant to have its own place. */
	expect(LIVE "backup = [ \"@/ba*\", \"@/back\" ];\n", 0, "");
	expect(LIVE "backup = [ \"@/back\", \"@/ba*\" ];\n", 0, "");
	/* Neither need exist. */
	expect_error("live = \"@/none\";\nbackup = \"@/none/\";\n",
		     "W :1: \"live\" does not exist yet: @/none; check the path, or create it\n"
		     "W :2: \"backup\" does not exist yet: @/none; check the path, or create it\n"
		     "E :2: \"live\" @/none and \"backup\" @/none" SAME_AS_LIVE);
}

static void one_inside_the_other(void **state)
{
	char from[PATH_MAX], to[PATH_MAX];

	(void)state;
	put_dir(to, sizeof(to), "@/live/in");
	assert_int_equal(mkdir(to, 0755), 0);
	put_dir(to, sizeof(to), "@/live/in/deep");
	assert_int_equal(mkdir(to, 0755), 0);
	put_dir(from, sizeof(from), "@/live/in");
	put_dir(to, sizeof(to), "@/two/link");
	assert_int_equal(symlink(from, to), 0);

	expect_error(LIVE "backup = \"@/live/in\";\n",
		     "E :2: \"backup\" @/live/in lies inside \"live\" @/live" APART);
	expect_error("live = \"@/live/in/deep/\";\nbackup = \"@/live\";\n",
		     "E :2: \"live\" @/live/in/deep lies inside \"backup\" @/live" APART);
	expect_error(LIVE "backup = \"@/two/link/deep\";\n",
		     "E :2: \"backup\" @/two/link/deep lies inside \"live\" @/live" APART);
	expect_error("live = \"@/two/link/deep\";\nbackup = \"@/live\";\n",
		     "E :2: \"live\" @/two/link/deep lies inside \"backup\" @/live" APART);
	expect_error("live = \"@/two\";\nbackup = [ \"@/live\",\n \"@/two/link\" ];\n",
		     "E :3: \"backup\" @/two/link lies inside \"backup\" @/live" APART);
	expect_error("live = \"@/two\";\nbackup = [ \"@/two/link\",\n \"@/live\" ];\n",
		     "E :3: \"backup\" @/two/link lies inside \"backup\" @/live" APART);
	expect_error(LIVE "backup = \"/\";\n",
		     "E :2: \"live\" @/live lies inside \"backup\" /" APART);
	expect_error("live = \"/\";\nbackup = \"@/back\";\n",
		     "E :2: \"backup\" @/back lies inside \"live\" /" APART);
	/* What does not exist yet goes by its name. */
	expect_error(LIVE "backup = \"@//live/none/x\";\n",
		     "W :2: \"backup\" does not exist yet: @//live/none/x; check the path, "
		     "or create it\n"
		     "E :2: \"backup\" @//live/none/x lies inside \"live\" @/live" APART);
	expect_error("live = \"@/none/x\";\nbackup = \"@/none\";\n",
		     "W :1: \"live\" does not exist yet: @/none/x; check the path, or create it\n"
		     "W :2: \"backup\" does not exist yet: @/none; check the path, or create it\n"
		     "E :2: \"live\" @/none/x lies inside \"backup\" @/none" APART);
	expect_error("live = \"@/none\";\nbackup = \"/\";\n",
		     "W :1: \"live\" does not exist yet: @/none; check the path, or create it\n"
		     "E :2: \"live\" @/none lies inside \"backup\" /" APART);
	expect(LIVE "backup = \"@/live9\";\n", 0,
	       "W :2: \"backup\" does not exist yet: @/live9; check the path, or create it\n");
	expect("live = \"@/live9\"; backup = \"@/live\";\n", 0,
	       "W :1: \"live\" does not exist yet: @/live9; check the path, or create it\n");
	/* A name that begins like another is not inside it. */
	put_dir(to, sizeof(to), "@/live2");
	assert_int_equal(mkdir(to, 0755), 0);
	expect(LIVE "backup = \"@/live2\";\n", 0, "");
	expect("live = \"@/live2\"; backup = \"@/live\";\n", 0, "");
	/* live itself may be a link, and backups may stand beside it. */
	expect("live = \"@/two/link\"; backup = [\"@/back\", \"@/live2\"];\n", 0, "");
}

/* One directory mounted in two places has two paths that no link connects. */
static void mounted_twice(void **state)
{
	char from[PATH_MAX], to[PATH_MAX];
	pid_t child;
	int status;

	(void)state;
	put_dir(from, sizeof(from), "@/live");
	put_dir(to, sizeof(to), "@/two");
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct conf conf;

		if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0
		    || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
		    || mount(from, to, NULL, MS_BIND, NULL) < 0)
			_exit(77);
		strcat(to, "/in");
		if (mkdir(to, 0755) < 0)
			_exit(1);
		if (read_text(&conf, LIVE "backup = \"@/two\";\n") != -EINVAL
		    || !strstr(told, "are the same directory"))
			_exit(2);
		if (read_text(&conf, LIVE "backup = \"@/two/in\";\n") != -EINVAL
		    || !strstr(told, "lies inside \"live\""))
			_exit(3);
		if (read_text(&conf, "live = \"@/two/in\"; backup = \"@/live\";") != -EINVAL
		    || !strstr(told, "lies inside \"backup\""))
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();         /* not allowed to mount here */
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void ranges(void **state)
{
	(void)state;
	expect_error(BOTH "workers = 0;", "E :3: \"workers\" is 0 and out of range; use 1 to 64\n");
	expect_error(BOTH "workers = 65;", "E :3: \"workers\" is 65 and out of range; "
		     "use 1 to 64\n");
	expect_error(BOTH "workers = -1;", "E :3: \"workers\" is -1 and out of range; "
		     "use 1 to 64\n");
	expect_error(BOTH "workers = 4294967298L;", "E :3: \"workers\" is 4294967298 and out of "
		     "range; use 1 to 64\n");
	expect_error(BOTH "workers = 2.0;", "E :3: \"workers\" is a number with a fraction and "
		     "must be a whole number; write it like workers = 2;\n");
	expect_error(BOTH "facility = \"demon\";", "E :3: \"facility\" names no facility of "
		     "syslog: \"demon\"; use \"daemon\", \"user\" or \"local0\" to \"local7\"\n");
	expect_error(BOTH "\nsocket = \"/0123456789012345678901234567890123456789012345678901234567"
		     "89012345678901234567890123456789012345678901234567\";",
		     "E :4: \"socket\" is longer than the 107 bytes that a socket's path may have; "
		     "use a shorter path\n");
	expect(BOTH "\nsocket = \"/0123456789012345678901234567890123456789012345678901234567890"
	       "123456789012345678901234567890123456789012345\";", 0, "");
}

#define NETWORK "; one that listens on the network alone cannot be asked: write it like " \
	"rrdcached = \"unix:/run/rrdcached.sock\";\n"
#define NO_SOCKET "\"rrdcached\" is empty; put the path of its socket there, like rrdcached = " \
	"\"unix:/run/rrdcached.sock\";\n"

static void rrdcached_addresses(void **state)
{
	static const char *const network[] = {
		"localhost", "localhost:42217", "127.0.0.1:42217", "[::1]:42217", "[::1]", ":42217",
		"unix", "unix:run/sock", "UNIX:/run/sock", "run/sock", " /run/sock",
		"systemd:", "tcp://host:1",
	};
	struct conf conf;
	char text[256], messages[512];

	(void)state;
	conf = good(BOTH "rrdcached = \"unix:/run/rrdcached.sock\";");
	assert_string_equal(conf.rrdcached, "/run/rrdcached.sock");
	conf_free(&conf);
	assert_null(conf.rrdcached);
	conf = good(BOTH "rrdcached = \"/a b/unix:/c\";");
	assert_string_equal(conf.rrdcached, "/a b/unix:/c");
	conf_free(&conf);

	for (size_t i = 0; i < sizeof(network) / sizeof(network[0]); i++) {
		snprintf(text, sizeof(text), BOTH "rrdcached = \"%s\";", network[i]);
		snprintf(messages, sizeof(messages), "E :3: \"rrdcached\" is not the path of a "
			 "socket: %s" NETWORK, network[i]);
		expect_error(text, messages);
	}
	expect_error(BOTH "rrdcached = \"\";", "E :3: " NO_SOCKET);
	expect_error(BOTH "\nrrdcached = \"unix:\";", "E :4: " NO_SOCKET);
	expect_error(BOTH "rrdcached = 42217;", "E :3: \"rrdcached\" is a number and must be a "
		     "path in quotes; write it like rrdcached = \"unix:/run/rrdcached.sock\";\n");
	expect_error(BOTH "rrdcached = [ \"/a\" ];", "E :3: \"rrdcached\" is a list and must be a "
		     "path in quotes; write it like rrdcached = \"unix:/run/rrdcached.sock\";\n");
	expect_error(BOTH "rrdcahced = \"/a\";",
		     "E :3: unknown key \"rrdcahced\"; did you mean \"rrdcached\"?\n");
	expect_error(BOTH "rrdcached = \"unix:/01234567890123456789012345678901234567890123456789012"
		     "34567890123456789012345678901234567890123456789012345678\";",
		     "E :3: \"rrdcached\" is longer than the 107 bytes that a socket's path may "
		     "have; use a shorter path\n");
}

#define USER_ADVICE "; name the user who writes the live files, or take the line out\n"

static void users(void **state)
{
	struct conf conf;

	(void)state;
	conf = good(BOTH "user = \"root\";");
	assert_string_equal(conf.user, "root");
	conf_free(&conf);
	assert_null(conf.user);
	expect_error(BOTH "\nuser = \"\";\n", "E :4: \"user\" is empty" USER_ADVICE);
	expect_error(BOTH "user = 5;\n", "E :3: \"user\" is a number and must be a name in quotes; "
		     "write it like user = \"nagios\";\n");
	expect_error(BOTH "user = [ \"root\" ];\n", "E :3: \"user\" is a list and must be a name "
		     "in quotes; write it like user = \"nagios\";\n");
	expect_error(BOTH "user = { name = \"root\"; };\n", "E :3: \"user\" is a group and must be "
		     "a name in quotes; write it like user = \"nagios\";\n");
	expect_error(BOTH "users = \"root\";\n", "E :3: unknown key \"users\"; did you mean "
		     "\"user\"?\n");
	/* A number is no name, nor is one with blanks around it. */
	expect_error(BOTH "user = \"0\";\n",
		     "E :3: \"user\" names nobody on this machine: \"0\"" USER_ADVICE);
	expect_error(BOTH "user = \" root\";\n",
		     "E :3: \"user\" names nobody on this machine: \" root\"" USER_ADVICE);
	expect_error(BOTH "\nuser = \"nobody at all:\\n\";\n",
		     "E :4: \"user\" names nobody on this machine: \"nobody at all:\\x0A\""
		     USER_ADVICE);
}

#define RESCAN_RANGE " and out of range; use 1 to 604800 seconds, or 0 for never\n"
#define RATE_RANGE " and out of range; use 0.1 to 100000 megabytes a second, or 0 for no limit\n"

static void rates(void **state)
{
	static const struct { const char *text; uint64_t rate; } fine[] = {
		{ "0", 0 }, { "0.0", 0 }, { "0.1", 100000 }, { "2.5", 2500000 },
		{ "10", 10000000 }, { "100000", UINT64_C(100000000000) }, { "40L", 40000000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		struct conf conf;
		char text[200];

		snprintf(text, sizeof(text), BOTH "rate = %s;", fine[i].text);
		assert_int_equal(read_text(&conf, text), 0);
		assert_int_equal(conf.rate, fine[i].rate);
		conf_free(&conf);
	}
	expect_error(BOTH "rate = -1;", "E :3: \"rate\" is -1" RATE_RANGE);
	expect_error(BOTH "rate = 0.01;", "E :3: \"rate\" is 0.01" RATE_RANGE);
	expect_error(BOTH "rate = 1e300;", "E :3: \"rate\" is 1e+300" RATE_RANGE);
	expect_error(BOTH "rate = \"10\";", "E :3: \"rate\" is a string and must be a number of "
		     "megabytes a second; write it like rate = 10;\n");
	expect_error(BOTH "log_files = 1;", "E :3: \"log_files\" is a number and must be "
		     "true or false; write it like log_files = true;\n");
}

#define RESCAN_LIKE " and must be a whole number of seconds; write it like rescan_interval = 900;\n"

static void rescan_intervals(void **state)
{
	static const struct { const char *text; unsigned rescan_s; } fine[] = {
		{ "0", 0 }, { "1", 1 }, { "60L", 60 }, { "0x10", 16 }, { "604800", 604800 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), BOTH "rescan_interval = %s;", fine[i].text);
		struct conf conf = good(text);
		assert_int_equal(conf.rescan_s, fine[i].rescan_s);
		conf_free(&conf);
	}
	expect_error(BOTH "rescan_interval = -1;", "E :3: \"rescan_interval\" is -1" RESCAN_RANGE);
	expect_error(BOTH "rescan_interval = 604801;",
		     "E :3: \"rescan_interval\" is 604801" RESCAN_RANGE);
	/* Cut to 32 bits, these would be fine. */
	expect_error(BOTH "rescan_interval = 4294968196L;",
		     "E :3: \"rescan_interval\" is 4294968196" RESCAN_RANGE);
	expect_error(BOTH "rescan_interval = 4294967296L;",
		     "E :3: \"rescan_interval\" is 4294967296" RESCAN_RANGE);
	expect_error(BOTH "rescan_interval = \"900\";",
		     "E :3: \"rescan_interval\" is a string" RESCAN_LIKE);
	expect_error(BOTH "rescan_interval = 900.0;",
		     "E :3: \"rescan_interval\" is a number with a fraction" RESCAN_LIKE);
	expect_error(BOTH "\nrescan_interval = false;",
		     "E :4: \"rescan_interval\" is true or false" RESCAN_LIKE);
	expect_error(BOTH "rescan_interval = [ 900 ];",
		     "E :3: \"rescan_interval\" is a list" RESCAN_LIKE);
	expect_error(BOTH "rescan = 900;", "E :3: unknown key \"rescan\"; take it out, or see "
		     "rrdmergd.conf(5) for those there are\n");
}

static void places_that_are_odd(void **state)
{
	char path[PATH_MAX], text[3 * PATH_MAX];

	(void)state;
	expect("live = \"@/no\";\nbackup = [ \"@/no2\", \"@/back\" ];\n", 0,
	       "W :1: \"live\" does not exist yet: @/no; check the path, or create it\n"
	       "W :2: \"backup\" does not exist yet: @/no2; check the path, or create it\n");
	put_dir(path, sizeof(path), "@/plain");
	write_bytes(path, "x", 1);
	expect_error("live = \"@/plain\";\nbackup = \"@/plain/x\";\n",
		     "E :1: \"live\" is not a directory: @/plain; name the directory that holds "
		     "the RRD files\n"
		     "E :2: \"backup\" cannot be used: @/plain/x: Not a directory; "
		     "check the path\n"
		     "E :2: \"backup\" @/plain/x lies inside \"live\" @/plain" APART);
	put_dir(path, sizeof(path), "@/loop");
	assert_int_equal(symlink("loop", path), 0);
	expect_error(LIVE "backup = \"@/loop\";\n", "E :2: \"backup\" cannot be used: @/loop: Too "
		     "many levels of symbolic links; check the path\n");
	strcpy(text, LIVE "backup = \"");
	for (size_t i = 0; i < PATH_MAX / 8 + 1; i++)
		strcat(text, "/1234567");
	strcat(text, "\";");
	put_dir(told, sizeof(told), text);
	write_bytes(file, told, strlen(told));
	assert_int_equal(read_conf(&(struct conf){ 0 }), -EINVAL);
	assert_int_equal(errors, 1);
	assert_non_null(strstr(told, "File name too long"));
}

static void all_is_told(void **state)
{
	(void)state;
	expect_error("workers = 99;\nlvie = \"@/live\";\nbackup = \"\";\nfacility = \"x\";\n",
		     "E :1: \"workers\" is 99 and out of range; use 1 to 64\n"
		     "E :2: unknown key \"lvie\"; did you mean \"live\"?\n"
		     "E :3: " NO_BACKUP
		     "E :4: \"facility\" names no facility of syslog: \"x\"; "
		     "use \"daemon\", \"user\" or \"local0\" to \"local7\"\n"
		     "E : \"live\" is missing; add a line like live = "
		     "\"/var/lib/pnp4nagios/perfdata\";\n");
}

static void files_that_cannot_be_read(void **state)
{
	struct conf conf;

	(void)state;
	unlink(file);
	assert_int_equal(read_conf(&conf), -ENOENT);
	expect_told("E : cannot be read: No such file or directory; check the path\n");

	assert_int_equal(mkdir(file, 0755), 0);
	assert_int_equal(read_conf(&conf), -EISDIR);
	expect_told("E : is a directory; name a file\n");
	assert_int_equal(rmdir(file), 0);

	assert_int_equal(mkfifo(file, 0644), 0);
	assert_int_equal(read_conf(&conf), -EINVAL);
	expect_told("E : is not a regular file; name a file\n");
	unlink(file);

	if (geteuid() != 0) {
		write_bytes(file, "", 0);
		assert_int_equal(chmod(file, 0), 0);
		assert_int_equal(read_conf(&conf), -EACCES);
		assert_non_null(strstr(told, "Permission denied; let the user"));
	}
}

static void hostile_files(void **state)
{
	static char big[(1 << 20) + 2];
	struct conf conf;
	char hole[PATH_MAX];
	int fd;

	(void)state;
	write_bytes(file, "live = \"/a\0b\";", 14);
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_int_equal(errors, 1);
	assert_non_null(strstr(told, "is not a text file"));

	memset(big, ' ', sizeof(big));
	write_bytes(file, big, sizeof(big));
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_non_null(strstr(told, "is too large"));

	/* Deeper than the parser's stack, and as deep as it may get. */
	memset(big, '(', sizeof(big));
	memcpy(big, "a=", 2);
	write_bytes(file, big, 1 << 20);
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_int_equal(errors, 1);
	memset(big + 1500, ')', 1498);
	memcpy(big + 2998, ";", 1);
	write_bytes(file, big, 2999);
	assert_int_equal(read_conf(&conf), -EINVAL);

	memset(big, '\n', sizeof(big));
	write_bytes(file, big, 1 << 19);
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_int_equal(errors, 2);
	memset(big, '"', sizeof(big));
	write_bytes(file, big, 1 << 19);
	assert_int_equal(read_conf(&conf), -EINVAL);

	/* A hole of 1 TB. */
	snprintf(hole, sizeof(hole), "%s", file);
	fd = open(hole, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	close(fd);
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_int_equal(errors, 1);
	unlink(file);
}

/* Random bytes, and a sound file with some of its bytes changed.  No @include: libconfig 1.5
 * ends the program where one comes to name a directory. */
static void random_files(void **state)
{
	static const char sound[] = "live = \"/tmp/l\";\nbackup = [ \"/tmp/b\", \"/tmp/c\" ];\n"
		"workers = 2; /* x */ # y\nsocket = \"/a\\x41\\n\";\n"
		"rename = ( { from = \"^(a|[b-d])/(.{2,3})$\"; to = [ \"$1/$$\", \"$2\" ]; } );\n";
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	char text[512];

	(void)state;
	print_message("SEED=%u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < 4000; i++) {
		size_t len = sizeof(sound) - 1;
		struct conf conf;
		int rc;

		if (i % 2) {
			len = (size_t)rand() % sizeof(text);
			for (size_t j = 0; j < len; j++)
				text[j] = (char)rand();
		} else {
			memcpy(text, sound, len);
			for (int n = rand() % 4; n >= 0; n--)
				text[(size_t)rand() % len] = (char)rand();
		}
		write_bytes(file, text, len);
		rc = read_conf(&conf);
		assert_int_equal(rc == 0, errors == 0);
		if (!rc)
			conf_free(&conf);
	}
}

static void put_file(const char *name, const char *text)
{
	char path[PATH_MAX], full[32768];

	put_dir(path, sizeof(path), name);
	put_dir(full, sizeof(full), text);
	write_bytes(path, full, strlen(full));
}

static void includes(void **state)
{
	struct conf conf;

	(void)state;
	put_file("@/two/a.conf", "# first\nworkers = 7;\n~include \"b.conf\"\n");
	put_file("@/b.conf", "backup = \"@/back\";\n");
	/* Relative to the directory of the configuration, in an included file too. */
	conf = good(LIVE "~include \"two/a.conf\"\nfacility = \"local1\";\n"
		    "/*\n~include \"none\"\n*/ socket = \"/a\n~include \\\"\";\n");
	assert_int_equal(conf.workers, 7);
	assert_int_equal(conf.backups, 1);
	assert_int_equal(conf.facility, LOG_LOCAL1);
	assert_string_equal(conf.socket, "/a\n@include \"");
	conf_free(&conf);

	/* Errors name the file that they are in, and the lines are right before and after. */
	put_file("@/two/bad.conf", "\n\nworkers = 0;\n");
	expect_error("backup = \"x\";\n~include \"two/bad.conf\"\n\nlive = \"y\";\n",
		     "E :1: \"backup\" is a relative path: x; write the whole path, beginning "
		     "with /\n"
		     "E two/bad.conf:3: \"workers\" is 0 and out of range; use 1 to 64\n"
		     "E :4: \"live\" is a relative path: y; write the whole path, beginning "
		     "with /\n");
	put_file("@/two/bad.conf", "\nbackup = [ \"@/live\",\n\"b\" ];\n");
	expect_error(LIVE "~include \"two/bad.conf\"\n",
		     "E two/bad.conf:3: \"backup\" is a relative path: b; write the whole path, "
		     "beginning with /\n"
		     "E two/bad.conf:2: \"live\" @/live and \"backup\" @/live" SAME_AS_LIVE);
	put_file("@/two/bad.conf", "\nworkers = = 0;\n");
	expect_error("\n~include \"two/bad.conf\"\n", "E two/bad.conf:2: syntax error; correct "
		     "this line, or the end of the one before it\n");
	put_file("@/two/bad.conf", "\nlive = \"@/two\";\n");
	expect_error(BOTH "~include \"two/bad.conf\"\n", "E two/bad.conf:2: duplicate setting "
		     "name; take one of the two out\n");

#define NAME "; correct the name, or take the ~include out\n"
	expect_error("#\n~include \"none\"\n", "E :2: cannot open include file" NAME);
	expect_error("~include two\n", "E :1: syntax error; correct this line, or the end of the "
		     "one before it\n");
	put_file("@/loop.conf", "#\n~include \"loop.conf\"\n");
	expect_error("~include \"loop.conf\"\n", "E loop.conf:2: include file nesting too deep"
		     NAME);
}

/* A relative name of the configuration itself works, with an include beside it. */
static void relative_name(void **state)
{
	struct conf conf;
	int cwd = open(".", O_RDONLY | O_DIRECTORY);

	(void)state;
	assert_true(cwd >= 0);
	assert_int_equal(chdir(dir), 0);
	put_file("@/x.conf", BOTH "~include \"y.conf\"\n");
	put_file("@/y.conf", "workers = 3;\n");
	told[0] = '\0';
	assert_int_equal(conf_read("x.conf", &conf, tell, &errors), 0);
	assert_int_equal(conf.workers, 3);
	conf_free(&conf);
	put_file("@/y.conf", "workers = 0;\n");
	assert_int_equal(conf_read("x.conf", &conf, tell, &errors), -EINVAL);
	assert_string_equal(told, "E y.conf:1: \"workers\" is 0 and out of range; use 1 to 64\n");
	assert_int_equal(fchdir(cwd), 0);
	close(cwd);
}

static void how_to_match(void **state)
{
	struct conf conf = good(BOTH);

	(void)state;
	assert_int_equal(conf.match, CONF_MATCH_AUTO);
	conf_free(&conf);
	conf = good(BOTH "match = \"label\";");
	assert_int_equal(conf.match, CONF_MATCH_LABEL);
	conf_free(&conf);
	conf = good(BOTH "match = \"name\";");
	assert_int_equal(conf.match, CONF_MATCH_NAME);
	conf_free(&conf);
	expect_error(BOTH "match = \"names\";", "E :3: \"match\" is \"names\", which is not "
		     "known; use \"auto\", \"label\" or \"name\"\n");
	expect_error(BOTH "match = 1;", "E :3: \"match\" is a number and must be a name in quotes; "
		     "write it like match = \"auto\";\n");
}

#define RULE "{ from = \"^web01\\\\.old/(.*)\"; to = \"web01/$1\"; }"

static void rename_rules(void **state)
{
	struct conf conf = good(BOTH "rename = ( " RULE ",\n{ to = [ \"x$$/$0\", \"$1\" ];\n"
				"from = \"(a|b)\"; },\n{ from = \"^x/\"; to = \"\"; } );");

	(void)state;
	assert_int_equal(conf.renames, 3);
	assert_string_equal(conf.rename[0].from, "^web01\\.old/(.*)");
	assert_int_equal(conf.rename[0].tos, 1);
	assert_string_equal(conf.rename[0].to[0], "web01/$1");
	assert_int_equal(conf.rename[1].tos, 2);
	assert_string_equal(conf.rename[1].to[1], "$1");
	assert_string_equal(conf.rename[2].to[0], "");
	conf_free(&conf);
	assert_int_equal(conf.renames, 0);

	conf = good(BOTH "rename = ();");
	assert_int_equal(conf.renames, 0);
	conf_free(&conf);
	conf = good(BOTH "rename = [];");
	conf_free(&conf);
}

static void rename_rules_that_are_wrong(void **state)
{
	(void)state;
	expect_error(BOTH "rename = " RULE ";",
		     "E :3: \"rename\" is a group and must be a list of rules; write it like "
		     "rename = ( " RULE " );\n");
	expect_error(BOTH "rename = \"x\";",
		     "E :3: \"rename\" is a string and must be a list of rules; write it like "
		     "rename = ( " RULE " );\n");
	expect_error(BOTH "rename = (\n\"x\",\n" RULE ",\n( " RULE " ) );",
		     "E :4: in \"rename\", a rule is a string and must be a group; write it like "
		     RULE "\n"
		     "E :6: in \"rename\", a rule is a list and must be a group; write it like "
		     RULE "\n");
	expect_error(BOTH "rename = ( { from = \"a\";\n form = \"a\";\n to = \"b\";\nname = 1;\n"
		     "} );",
		     "E :4: unknown key \"form\" in a rule of \"rename\"; did you mean \"from\"?\n"
		     "E :6: unknown key \"name\" in a rule of \"rename\"; take it out, or see "
		     "rrdmergd.conf(5) for those there are\n");
	expect_error(BOTH "rename = (\n{ from = \"a\"; },\n{ to = \"b\"; },\n{ } );",
		     "E :4: in \"rename\", a rule has no \"to\"; write it like " RULE "\n"
		     "E :5: in \"rename\", a rule has no \"from\"; write it like " RULE "\n"
		     "E :6: in \"rename\", a rule has no \"from\"; write it like " RULE "\n"
		     "E :6: in \"rename\", a rule has no \"to\"; write it like " RULE "\n");
	expect_error(BOTH "rename = ( { from = 1; to = \"b\"; },\n{ from = \"a\"; to = [];},\n"
		     "{ from = \"a\"; to = ( \"b\",\n7 ); } );",
		     "E :3: \"from\" is a number and must be a regular expression in quotes; write "
		     "it like from = \"^web01\\\\.old/(.*)\";\n"
		     "E :4: in \"rename\", \"to\" is an empty list; name at least one path\n"
		     "E :6: \"to\" is a number and must be a path in quotes; write it like to = "
		     "\"web01/$1\";\n");
	/* Each in the line in which it stands, and those after it too. */
	expect_error(BOTH "rename = ( { from =\n \"web(01\"; to = \"x\"; },\n{ from = \"(a)b\";\n"
		     "to = [ \"$1\",\n\"$2\", \"$\" ]; },\n{ from = \"\"; to = \"\"; } );",
		     "E :3: in \"rename\", \"from\" is no regular expression: Unmatched ( or "
		     "\\\\(: web(01; see regex(7)\n"
		     "E :7: in \"rename\", \"to\" asks for $2: $2; \"from\" has 1 group, in ( )\n"
		     "E :8: in \"rename\", \"from\" is empty; write what it must match, like "
		     "\"^web01/(.*)\"\n");
}

static void too_many_rules(void **state)
{
	static char text[65536];
	size_t len = (size_t)snprintf(text, sizeof(text), "%s", BOTH "rename = ( ");

	(void)state;
	for (int i = 0; i < 1001; i++)
		len += (size_t)sprintf(text + len, "{from=\"a\";to=\"b\";},");
	sprintf(text + len - 1, " );");
	static char full[131072];
	struct conf conf;

	put_dir(full, sizeof(full), text);
	write_bytes(file, full, strlen(full));
	assert_int_equal(read_conf(&conf), -EINVAL);
	assert_non_null(strstr(told, "\"rename\" has 1001 rules, and more than 1000 are too many"));
	/* One less is fine. */
	memmove(strrchr(full, ','), " );", 4);
	write_bytes(file, full, strlen(full));
	assert_int_equal(read_conf(&conf), 0);
	assert_int_equal(conf.renames, 1000);
	conf_free(&conf);
}

static void make(const char *name)
{
	char path[PATH_MAX];

	put_dir(path, sizeof(path), name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void expect_backups(const struct conf *conf, size_t count, const char *const *names)
{
	assert_int_equal(conf->backups, count);
	for (size_t i = 0; i < count; i++) {
		char path[PATH_MAX];

		put_dir(path, sizeof(path), names[i]);
		assert_string_equal(conf->backup[i], path);
	}
}

static void patterns(void **state)
{
	struct conf conf, other;

	(void)state;
	make("@/two/daily.0");
	make("@/two/daily.1");
	make("@/two/daily.0/p");
	make("@/two/daily.1/p");
	conf = good(LIVE "backup = \"@/two/daily.?/p/\";");
	expect_backups(&conf, 2, (const char *const[]){ "@/two/daily.0/p", "@/two/daily.1/p" });
	assert_int_equal(conf.givens, 1);
	other = good(LIVE "backup = [ \"@/two/daily.0/p\", \"@/two/daily.1/p\" ];");
	assert_true(conf_same_sources(&conf, &other));
	conf_free(&other);
	other = good(LIVE "backup = [ \"@/two/daily.1/p\", \"@/two/*/p\" ];");
	expect_backups(&other, 2, (const char *const[]){ "@/two/daily.1/p", "@/two/daily.0/p" });
	assert_false(conf_same_sources(&conf, &other));
	conf_free(&other);
	other = good(LIVE "backup = \"@/two/*/p\"; rename = ( " RULE " );");
	assert_false(conf_same_sources(&conf, &other));
	conf_free(&other);
	other = good(LIVE "backup = \"@/two/*/p\"; match = \"name\";");
	assert_false(conf_same_sources(&conf, &other));
	conf_free(&other);
	conf_free(&conf);

	expect(LIVE "backup = [ \"@/back\",\n\"@/no*/p\" ];", 0,
	       "W :3: \"backup\" matches no directory yet: @/no*/p; check the pattern, or create "
	       "one\n");
	assert_int_equal(read_conf(&conf), 0);
	expect_backups(&conf, 2, (const char *const[]){ "@/back", "@/no*/p" });
	conf_free(&conf);
	/* What a pattern must not match, and where it is written. */
	expect_error(LIVE "backup = [\n\"@/l*e\" ];",
		     "E :3: \"live\" @/live and \"backup\" @/live" SAME_AS_LIVE);
	expect_error(LIVE "backup = [ \"@/two\",\n\"@/two/*/p\" ];",
		     "E :3: \"backup\" @/two/daily.0/p lies inside \"backup\" @/two" APART
		     "E :3: \"backup\" @/two/daily.1/p lies inside \"backup\" @/two" APART);
}

static void too_many_backups(void **state)
{
	char name[PATH_MAX];
	struct conf conf;

	(void)state;
	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "@/two/%03d", i);
		make(name);
	}
	conf = good(LIVE "backup = \"@/two/*\";");
	assert_int_equal(conf.backups, 400);
	conf_free(&conf);
	expect_error(LIVE "backup = [ \"@/back\",\n\"@/two/*\" ];",
		     "E :3: \"backup\" stands for 401 directories, and more than 400 are too many: "
		     "@/two/*; name fewer, or narrow the pattern\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_lines_are_enough),
		TEST(every_key),
		TEST(syntax),
		TEST(unknown_keys),
		TEST(wrong_types),
		TEST(missing_or_empty),
		TEST(as_installed),
		TEST(relative_paths),
		TEST(same_directory),
		TEST(one_inside_the_other),
		TEST(mounted_twice),
		TEST(ranges),
		TEST(users),
		TEST(rrdcached_addresses),
		TEST(rescan_intervals),
		TEST(rates),
		TEST(places_that_are_odd),
		TEST(all_is_told),
		TEST(files_that_cannot_be_read),
		TEST(hostile_files),
		TEST(random_files),
		TEST(includes),
		TEST(relative_name),
		TEST(how_to_match),
		TEST(rename_rules),
		TEST(rename_rules_that_are_wrong),
		TEST(too_many_rules),
		TEST(patterns),
		TEST(too_many_backups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
