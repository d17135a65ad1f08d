/*
 * component_directory.c
 *		Components in files: bulwark.tenant_key_directory, by default the directory
 *		"tenant-keys" beside the root key file.
 *
 *		DIR/ab/abcd...		a component in use
 *		DIR/ab/abcd....new	its transaction has not ended, or the server died
 *		DIR/ab/abcd....gone	tombstone: destroyed, and refused if it comes back
 *
 * A component is 73 bytes: magic "BWTC" | version (1) | system identifier (8) and
 * database (4) that put it | id (16) | component (32) | check (8), the start of
 * SHA-256 of all before.  A tombstone is empty.  Everything is the server's user's
 * alone.
 *
 * Which name a component has says nothing to who reads it: a crash may fall between
 * the commit and the new name.  The sweeper takes only names that end in .new, for
 * another database, or another copy of this one, may use what this one does not know.
 */
#include "secrets/keys.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/guc.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_NAME	"tenant-keys"
#define NEW				".new"
#define GONE			".gone"
#define SETTLED			""

#define MAGIC			"BWTC"
#define VERSION			1
#define CHECK_LEN		8
#define OWNER_LEN		(8 + 4)
#define BEFORE_CHECK	(4 + 1 + OWNER_LEN + UUID_LEN + COMPONENT_LEN)
#define FILE_LEN		(BEFORE_CHECK + CHECK_LEN)

static char *directory_setting;

/* --- where --------------------------------------------------------------------------- */

/* False where none is configured and there is no root key file beside which to be. */
static bool
directory_path(char path[MAXPGPATH])
{
	const char *root = KeyringFile();

	if (directory_setting[0] != '\0')
		strlcpy(path, directory_setting, MAXPGPATH);
	else if (is_absolute_path(root))
	{
		strlcpy(path, root, MAXPGPATH);
		get_parent_directory(path);
		if (strlen(path) + sizeof("/" DEFAULT_NAME) > MAXPGPATH)
			return false;
		strlcat(path, "/" DEFAULT_NAME, MAXPGPATH);
	}
	else
		return false;
	return is_absolute_path(path);
}

static bool
configured(void)
{
	char		path[MAXPGPATH];

	return directory_path(path);
}

static bool
fan_path(const char *directory, const pg_uuid_t *id, char path[MAXPGPATH])
{
	return snprintf(path, MAXPGPATH, "%s/%02x", directory, id->data[0]) < MAXPGPATH;
}

static bool
file_path(const char *directory, const pg_uuid_t *id, const char *suffix, char path[MAXPGPATH])
{
	char		name[COMPONENT_NAME_LEN + 1];

	ComponentName(id, name);
	return snprintf(path, MAXPGPATH, "%s/%02x/%s%s", directory, id->data[0], name, suffix) < MAXPGPATH;
}

/*
 * Where a component may be: where new ones go, and where its row says that it was
 * put, should the setting or the root key file have moved since.
 */
typedef struct Places
{
	char		paths[2][MAXPGPATH];
	int			n;
} Places;

static void
find_places(const char *location, Places *places)
{
	places->n = 0;
	if (directory_path(places->paths[0]))
		places->n = 1;
	if (is_absolute_path(location) && (places->n == 0 || strcmp(location, places->paths[0]) != 0))
		strlcpy(places->paths[places->n++], location, MAXPGPATH);
}

static ComponentAnswer
failed(char *problem, const char *what, const char *path)
{
	snprintf(problem, COMPONENT_PROBLEM_LEN, "could not %s \"%s\": %s", what, path,
			 errno == ELOOP ? "it is a symbolic link" : strerror(errno));
	return COMPONENT_FAILED;
}

static ComponentAnswer
no_directory(char *problem)
{
	strlcpy(problem, "bulwark.tenant_key_directory is not set to an absolute path, or to one that is too long",
			COMPONENT_PROBLEM_LEN);
	return COMPONENT_FAILED;
}

/* --- making directories and files that outlive a crash ------------------------------------ */

static int
open_no_link(const char *path, int flags)
{
	int			fd;

	do
		fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, S_IRUSR | S_IWUSR);
	while (fd < 0 && errno == EINTR);
	return fd;
}

/* Is it the server's user's alone? */
static bool
owned_alone(int fd, const char *path, mode_t type, char *problem)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		(void) failed(problem, "stat", path);
	else if ((st.st_mode & S_IFMT) != type)
		snprintf(problem, COMPONENT_PROBLEM_LEN, "\"%s\" is not a %s", path,
				 type == S_IFDIR ? "directory" : "regular file");
	else if (st.st_uid != geteuid())
		snprintf(problem, COMPONENT_PROBLEM_LEN, "\"%s\" is not owned by the server's user", path);
	else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		snprintf(problem, COMPONENT_PROBLEM_LEN, "\"%s\" has permissions for group or others (mode %04o)",
				 path, (unsigned int) (st.st_mode & 07777));
	else
		return true;
	return false;
}

static bool
sync_directory(const char *path, char *problem)
{
	int			fd = open_no_link(path, O_RDONLY | O_DIRECTORY);
	bool		ok;

	if (fd < 0)
	{
		(void) failed(problem, "open", path);
		return false;
	}
	ok = owned_alone(fd, path, S_IFDIR, problem);
	if (ok && pg_fsync(fd) != 0)
	{
		(void) failed(problem, "fsync", path);
		ok = false;
	}
	close(fd);
	return ok;
}

/* The parent of a directory of ours, which need not be ours. */
static bool
sync_parent(const char *path, char *problem)
{
	char		parent[MAXPGPATH];
	int			fd;
	bool		ok;

	strlcpy(parent, path, sizeof(parent));
	get_parent_directory(parent);
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd >= 0 && pg_fsync(fd) == 0;
	if (!ok)
		(void) failed(problem, "fsync", parent);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
make_directory(const char *path, char *problem)
{
	if (mkdir(path, S_IRWXU) == 0)
		return sync_parent(path, problem);
	if (errno == EEXIST)
		return true;
	(void) failed(problem, "create directory", path);
	return false;
}

/* Components in the data directory would be in each base backup beside the rest. */
static void
warn_if_in_data_directory(const char *directory)
{
	static bool warned = false;
	char		real[PATH_MAX];
	char		data[PATH_MAX];
	size_t		len;

	if (warned || realpath(directory, real) == NULL || realpath(DataDir, data) == NULL)
		return;
	len = strlen(data);
	if (strncmp(real, data, len) != 0 || (real[len] != '/' && real[len] != '\0'))
		return;
	warned = true;
	ereport(WARNING,
			(errmsg("the components of tenant keys are kept inside the data directory"),
			 errdetail("Every base backup holds them, so that destroying a tenant's keys does not destroy what backups hold."),
			 errhint("Set bulwark.tenant_key_directory to a directory outside of it.")));
}

static bool
make_directories(const char *directory, const pg_uuid_t *id, char *problem)
{
	char		fan[MAXPGPATH];

	if (!fan_path(directory, id, fan))
	{
		(void) no_directory(problem);
		return false;
	}
	if (!make_directory(directory, problem) || !sync_directory(directory, problem) ||
		!make_directory(fan, problem))
		return false;
	warn_if_in_data_directory(directory);
	return true;
}

/* A new file with its content, on disk with its name. */
static ComponentAnswer
write_new(const char *path, const void *data, size_t len, char *problem)
{
	int			fd = open_no_link(path, O_WRONLY | O_CREAT | O_EXCL);
	char		parent[MAXPGPATH];
	ssize_t		written;

	if (fd < 0)
		return failed(problem, "create", path);
	errno = 0;
	written = len > 0 ? write(fd, data, len) : 0;
	if (written != (ssize_t) len && errno == 0)
		errno = ENOSPC;
	if (written != (ssize_t) len || pg_fsync(fd) != 0)
	{
		(void) failed(problem, "write", path);
		close(fd);
		(void) unlink(path);
		return COMPONENT_FAILED;
	}
	close(fd);
	strlcpy(parent, path, sizeof(parent));
	get_parent_directory(parent);
	return sync_directory(parent, problem) ? COMPONENT_OK : COMPONENT_FAILED;
}

/* --- the file ------------------------------------------------------------------------------ */

static void
put_owner(bw_writer *w)
{
	bw_put_uint(w, GetSystemIdentifier(), 8);
	bw_put_uint(w, MyDatabaseId, 4);
}

static ComponentAnswer
put(const pg_uuid_t *id, const uint8 component[COMPONENT_LEN], char location[MAXPGPATH], char *problem)
{
	char		path[MAXPGPATH];
	uint8		file[FILE_LEN];
	uint8		digest[BW_SHA256_LEN];
	bw_writer	w = {file, sizeof(file), 0, false};
	ComponentAnswer answer;

	if (!directory_path(location) || !file_path(location, id, NEW, path))
		return no_directory(problem);
	if (!make_directories(location, id, problem))
		return COMPONENT_FAILED;
	bw_put(&w, MAGIC, 4);
	bw_put_uint(&w, VERSION, 1);
	put_owner(&w);
	bw_put(&w, id->data, UUID_LEN);
	bw_put(&w, component, COMPONENT_LEN);
	bw_sha256(file, BEFORE_CHECK, digest);
	bw_put(&w, digest, CHECK_LEN);
	answer = w.failed ? COMPONENT_FAILED : write_new(path, file, w.len, problem);
	bw_wipe(file, sizeof(file));
	return answer;
}

/* The whole file; false unless it is that component's. */
static bool
file_valid(const uint8 file[FILE_LEN], const pg_uuid_t *id)
{
	uint8		digest[BW_SHA256_LEN];

	bw_sha256(file, BEFORE_CHECK, digest);
	return memcmp(file, MAGIC, 4) == 0 && file[4] == VERSION &&
		memcmp(file + 5 + OWNER_LEN, id->data, UUID_LEN) == 0 &&
		memcmp(file + BEFORE_CHECK, digest, CHECK_LEN) == 0;
}

static ComponentAnswer
read_file(const pg_uuid_t *id, const char *path, uint8 file[FILE_LEN + 1], char *problem)
{
	int			fd = open_no_link(path, O_RDONLY);
	ssize_t		len = -1;

	if (fd < 0)
		return errno == ENOENT ? COMPONENT_ABSENT : failed(problem, "open", path);
	if (owned_alone(fd, path, S_IFREG, problem))
	{
		len = read(fd, file, FILE_LEN + 1);
		if (len < 0)
			(void) failed(problem, "read", path);
	}
	close(fd);
	if (len < 0)
		return COMPONENT_FAILED;
	if (len == FILE_LEN && file_valid(file, id))
		return COMPONENT_OK;
	snprintf(problem, COMPONENT_PROBLEM_LEN, "\"%s\" is damaged, or another component", path);
	return COMPONENT_FAILED;
}

/* Where is it?  Between two looks it may have got its other name. */
static ComponentAnswer
find_file(const char *directory, const pg_uuid_t *id, uint8 file[FILE_LEN + 1], char *problem)
{
	static const char *const names[] = {SETTLED, NEW, SETTLED};
	ComponentAnswer answer = COMPONENT_ABSENT;
	char		path[MAXPGPATH];

	for (int i = 0; i < lengthof(names) && answer == COMPONENT_ABSENT; i++)
		answer = file_path(directory, id, names[i], path) ? read_file(id, path, file, problem) : no_directory(problem);
	return answer;
}

/* Anything by that name counts: a tombstone is not asked whether it is in order. */
static ComponentAnswer
find_tombstone(const char *directory, const pg_uuid_t *id, char *problem)
{
	char		path[MAXPGPATH];
	struct stat st;

	if (!file_path(directory, id, GONE, path))
		return no_directory(problem);
	if (lstat(path, &st) == 0)
		return COMPONENT_DESTROYED;
	return errno == ENOENT ? COMPONENT_ABSENT : failed(problem, "stat", path);
}

/* A tombstone in either place counts. */
static ComponentAnswer
get(const pg_uuid_t *id, const char *location, uint8 component[COMPONENT_LEN], char *problem)
{
	uint8		file[FILE_LEN + 1];
	ComponentAnswer answer = COMPONENT_ABSENT;
	Places		places;

	find_places(location, &places);
	if (places.n == 0)
		return no_directory(problem);
	for (int i = 0; i < places.n; i++)
	{
		answer = find_tombstone(places.paths[i], id, problem);
		if (answer != COMPONENT_ABSENT)
			return answer;
	}
	for (int i = 0; i < places.n && answer == COMPONENT_ABSENT; i++)
		answer = find_file(places.paths[i], id, file, problem);
	if (answer == COMPONENT_OK)
		memcpy(component, file + 5 + OWNER_LEN + UUID_LEN, COMPONENT_LEN);
	bw_wipe(file, sizeof(file));
	return answer;
}

/* --- destroying ------------------------------------------------------------------------------ */

/* Overwrite what the file's blocks hold, where the file system writes in place; then unlink. */
static ComponentAnswer
erase_file(const char *path, char *problem)
{
	static const uint8 zero[FILE_LEN];
	int			fd = open_no_link(path, O_WRONLY);

	if (fd < 0 && errno == ENOENT)
		return COMPONENT_ABSENT;
	if (fd >= 0)
	{
		if (write(fd, zero, sizeof(zero)) == sizeof(zero))
			(void) pg_fsync(fd);
		close(fd);
	}
	if (unlink(path) == 0)
		return COMPONENT_OK;
	return errno == ENOENT ? COMPONENT_ABSENT : failed(problem, "remove", path);
}

static ComponentAnswer
erase(const char *directory, const pg_uuid_t *id, char *problem)
{
	static const char *const names[] = {SETTLED, NEW, SETTLED};
	ComponentAnswer result = COMPONENT_ABSENT;
	char		path[MAXPGPATH];

	for (int i = 0; i < lengthof(names); i++)
	{
		ComponentAnswer answer = file_path(directory, id, names[i], path) ? erase_file(path, problem) : no_directory(problem);

		if (answer == COMPONENT_FAILED)
			return answer;
		if (answer == COMPONENT_OK)
			result = answer;
	}
	return result;
}

/* A directory that is there.  Where the file system that holds it is not mounted it
 * may be away, and is not made: what is made in its place is hidden by the mount. */
static ComponentAnswer
look_for_directory(const char *directory, char *problem)
{
	struct stat st;

	if (lstat(directory, &st) == 0)
		return COMPONENT_OK;
	if (errno != ENOENT)
		return failed(problem, "stat", directory);
	snprintf(problem, COMPONENT_PROBLEM_LEN, "\"%s\" is not there: is it mounted?", directory);
	return COMPONENT_ABSENT;
}

/* Is anything there by one of the component's names?  It need not be in order. */
static ComponentAnswer
look_for_file(const char *directory, const pg_uuid_t *id, char *problem)
{
	static const char *const names[] = {SETTLED, NEW, SETTLED};
	char		path[MAXPGPATH];
	struct stat st;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (!file_path(directory, id, names[i], path))
			return no_directory(problem);
		if (lstat(path, &st) == 0)
			return COMPONENT_OK;
		if (errno != ENOENT)
			return failed(problem, "stat", path);
	}
	return COMPONENT_ABSENT;
}

static ComponentAnswer
destroy_in(const char *directory, const pg_uuid_t *id, char *problem)
{
	char		path[MAXPGPATH];
	char		fan[MAXPGPATH];
	ComponentAnswer tombstone = find_tombstone(directory, id, problem);
	ComponentAnswer answer;

	if (!file_path(directory, id, GONE, path) || !fan_path(directory, id, fan))
		return no_directory(problem);
	if (tombstone == COMPONENT_FAILED || !sync_directory(directory, problem) || !make_directory(fan, problem))
		return COMPONENT_FAILED;
	if (tombstone == COMPONENT_ABSENT && write_new(path, NULL, 0, problem) != COMPONENT_OK)
		return COMPONENT_FAILED;
	answer = erase(directory, id, problem);
	if (answer == COMPONENT_FAILED || !sync_directory(fan, problem))
		return COMPONENT_FAILED;
	return answer;
}

/*
 * In each place.  One that was not found anywhere, and has no tombstone of an earlier
 * destruction, may be where we cannot look: nothing is left then that a second call
 * would take for one, unless it is given up as lost.
 *
 * Where new ones go must be there, and comes last: its tombstone says that what the
 * row's place held is gone.
 */
static ComponentAnswer
destroy(const pg_uuid_t *id, const char *location, bool lost, char *problem)
{
	bool		there[2] = {false, false};
	bool		any = lost;
	bool		tombstone = false;
	ComponentAnswer result = COMPONENT_ABSENT;
	Places		places;

	find_places(location, &places);
	if (places.n == 0)
		return no_directory(problem);
	for (int i = 0; i < places.n; i++)
	{
		ComponentAnswer answer = look_for_directory(places.paths[i], problem);
		ComponentAnswer file;

		if (answer == COMPONENT_FAILED || (answer == COMPONENT_ABSENT && i == 0))
			return COMPONENT_FAILED;
		there[i] = answer == COMPONENT_OK;
		if (!there[i])
			continue;
		answer = find_tombstone(places.paths[i], id, problem);
		file = look_for_file(places.paths[i], id, problem);
		if (answer == COMPONENT_FAILED || file == COMPONENT_FAILED)
			return COMPONENT_FAILED;
		tombstone |= answer == COMPONENT_DESTROYED;
		any |= file == COMPONENT_OK;
	}
	if (!any && !tombstone)
		return COMPONENT_ABSENT;
	for (int i = places.n; i-- > 0;)
	{
		ComponentAnswer answer = there[i] ? destroy_in(places.paths[i], id, problem) : COMPONENT_ABSENT;

		if (answer == COMPONENT_FAILED)
			return answer;
		if (answer == COMPONENT_OK)
			result = answer;
	}
	return result == COMPONENT_ABSENT && tombstone ? COMPONENT_DESTROYED : result;
}

/* --- after the transaction -------------------------------------------------------------------- */

static void
settle(const pg_uuid_t *id, const char *location)
{
	char		from[MAXPGPATH];
	char		to[MAXPGPATH];

	if (file_path(location, id, NEW, from) && file_path(location, id, SETTLED, to))
		(void) rename(from, to);
}

static void
discard(const pg_uuid_t *id, const char *location)
{
	char		path[MAXPGPATH];
	char		problem[COMPONENT_PROBLEM_LEN];

	if (file_path(location, id, NEW, path))
		(void) erase_file(path, problem);
}

/* Is it a name of ours that ends in .new?  Fills the id. */
static bool
parse_new(const char *name, pg_uuid_t *id)
{
	return strlen(name) == COMPONENT_NAME_LEN + strlen(NEW) &&
		strcmp(name + COMPONENT_NAME_LEN, NEW) == 0 &&
		bw_hex_decode(name, COMPONENT_NAME_LEN, id->data, UUID_LEN);
}

/* Did this database put it, before that time? */
static bool
is_left_over(const pg_uuid_t *id, const char *path, TimestampTz before)
{
	uint8		file[FILE_LEN + 1];
	uint8		owner[OWNER_LEN];
	bw_writer	w = {owner, sizeof(owner), 0, false};
	char		problem[COMPONENT_PROBLEM_LEN];
	struct stat st;
	bool		ours;

	put_owner(&w);
	if (lstat(path, &st) != 0 || time_t_to_timestamptz(st.st_mtime) >= before)
		return false;
	ours = read_file(id, path, file, problem) == COMPONENT_OK && memcmp(file + 5, owner, OWNER_LEN) == 0;
	bw_wipe(file, sizeof(file));
	return ours;
}

static int64
sweep_fan(const char *directory, const char *fan, TimestampTz before, bool (*in_use) (const pg_uuid_t *id))
{
	DIR		   *dir = opendir(fan);
	struct dirent *entry;
	pg_uuid_t	ids[64];
	int			n = 0;
	int64		removed = 0;

	if (dir == NULL)
		return 0;
	while (n < lengthof(ids) && (entry = readdir(dir)) != NULL)
		if (parse_new(entry->d_name, &ids[n]))
			n++;
	closedir(dir);

	for (int i = 0; i < n; i++)
	{
		char		path[MAXPGPATH];

		if (!file_path(directory, &ids[i], NEW, path) || !is_left_over(&ids[i], path, before))
			continue;
		if (in_use(&ids[i]))
			settle(&ids[i], directory);
		else
		{
			discard(&ids[i], directory);
			removed++;
		}
	}
	return removed;
}

static int64
sweep(TimestampTz before, bool (*in_use) (const pg_uuid_t *id))
{
	char		directory[MAXPGPATH];
	char		fan[MAXPGPATH];
	int64		removed = 0;

	if (!directory_path(directory))
		return 0;
	for (int i = 0; i < 256; i++)
	{
		pg_uuid_t	first = {{(unsigned char) i}};

		CHECK_FOR_INTERRUPTS();
		if (fan_path(directory, &first, fan))
			removed += sweep_fan(directory, fan, before, in_use);
	}
	return removed;
}

const ComponentProvider ComponentDirectory = {
	.name = "directory",
	.configured = configured,
	.put = put,
	.get = get,
	.destroy = destroy,
	.settle = settle,
	.discard = discard,
	.sweep = sweep
};

void
ComponentDirectoryInit(void)
{
	DefineCustomStringVariable("bulwark.tenant_key_directory",
							   "Directory that holds the components of tenant keys.",
							   "Empty: \"tenant-keys\" beside the root key file. Outside the data directory, owned by the server's user, with no permission for others.",
							   &directory_setting, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
