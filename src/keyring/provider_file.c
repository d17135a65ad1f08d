/*
 * provider_file.c
 *		A root key from a file: 64 hexadecimal digits that nobody but the
 *		server's user can have read or written.
 */
#include "keyring/ring.h"

#include "common/common.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is it a file that only the server's user can touch, of a key's size? */
static bool
file_acceptable(int fd, char problem[PROBLEM_LEN])
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		snprintf(problem, PROBLEM_LEN, "could not stat the file: %s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		strlcpy(problem, "it is not a regular file", PROBLEM_LEN);
	else if (st.st_uid != geteuid())
		strlcpy(problem, "the file is not owned by the server's user", PROBLEM_LEN);
	else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		snprintf(problem, PROBLEM_LEN,
				 "the file has permissions for group or others (mode %04o, 0600 or less is needed)",
				 (unsigned int) (st.st_mode & 07777));
	else if (st.st_size != 2 * ROOT_KEY_LEN && st.st_size != BW_ROOT_KEY_TEXT_MAX)
		snprintf(problem, PROBLEM_LEN,
				 "the file has %lld bytes, where %d hexadecimal digits and at most one newline are needed",
				 (long long) st.st_size, 2 * ROOT_KEY_LEN);
	else
		return true;
	return false;
}

static bool
read_key(int fd, uint8 key[ROOT_KEY_LEN], char problem[PROBLEM_LEN])
{
	char		text[BW_ROOT_KEY_TEXT_MAX + 1];	/* one more shows that it grew */
	ssize_t		len = bw_read_all(fd, text, sizeof(text));
	bool		ok = false;

	if (len < 0)
		snprintf(problem, PROBLEM_LEN, "could not read the file: %s", strerror(errno));
	else if (!bw_root_key_parse(text, (size_t) len, key))
		snprintf(problem, PROBLEM_LEN,
				 "the file holds something other than %d hexadecimal digits and at most one newline",
				 2 * ROOT_KEY_LEN);
	else
		ok = true;
	bw_wipe(text, sizeof(text));
	return ok;
}

/* A key beside the data is in every base backup of it. */
static void
warn_if_in_data_directory(const char *path)
{
	char		file[PATH_MAX];
	char		data[PATH_MAX];
	size_t		len;

	if (realpath(path, file) == NULL || realpath(DataDir, data) == NULL)
		return;
	len = strlen(data);
	if (strncmp(file, data, len) == 0 && file[len] == '/')
		ereport(WARNING,
				(errmsg("root key file \"%s\" is inside the data directory", path),
				 errdetail("Every base backup holds the key beside what it protects."),
				 errhint("Keep the root key outside the data directory.")));
}

static bool
fetch(KeyringSlot slot, const char *path, uint8 key[ROOT_KEY_LEN], char problem[PROBLEM_LEN])
{
	int			fd;
	bool		ok;

	if (!is_absolute_path(path))
	{
		strlcpy(problem, "it is not an absolute path", PROBLEM_LEN);
		return false;
	}

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	do
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
	{
		snprintf(problem, PROBLEM_LEN, "could not open the file: %s",
				 errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		return false;
	}

	ok = file_acceptable(fd, problem) && read_key(fd, key, problem);
	close(fd);
	if (ok)
		warn_if_in_data_directory(path);
	return ok;
}

RootKeyProvider FileProvider = {
	.name = "file",
	.settings = {"bulwark.root_key_file", "bulwark.root_key_file_next"},
	.fetch = fetch
};
