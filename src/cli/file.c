/*
 * file.c
 *		Files that are whole or not there.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
write_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t) n;
	}
	return true;
}

bool
sync_directory_of(const char *path)
{
	char	   *copy = strdup(path);
	int			fd = copy != NULL ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool		ok = fd >= 0 && fsync(fd) == 0;
	int			saved = errno;

	if (fd >= 0)
		close(fd);
	free(copy);
	errno = saved;
	return ok;
}

long
read_small_file(const char *path, char *buffer, size_t cap)
{
	FILE	   *file = fopen(path, "re");
	size_t		n;

	if (file == NULL)
	{
		complain("could not open \"%s\": %s", path, strerror(errno));
		return -1;
	}
	n = fread(buffer, 1, cap, file);
	if (ferror(file) || n == cap)
	{
		complain("could not read \"%s\": %s", path, n == cap ? "it is too large" : strerror(errno));
		fclose(file);
		return -1;
	}
	fclose(file);
	buffer[n] = '\0';
	return (long) n;
}

long
read_note_file(const char *path, char *buffer, size_t cap)
{
	long		n = read_small_file(path, buffer, cap);

	while (n > 1 && buffer[n - 1] == '\n' && buffer[n - 2] == '\n')
		buffer[--n] = '\0';
	return n;
}

/* Written beside its place first: linking it there fails where there is a file. */
bool
write_new_file(const char *path, const char *data, size_t len)
{
	char	   *beside = malloc(strlen(path) + 32);
	bool		ok;
	int			saved;
	int			fd;

	if (beside == NULL)
		return false;
	sprintf(beside, "%s.%ld.new", path, (long) getpid());
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
	{
		saved = errno;
		free(beside);
		errno = saved;
		return false;
	}
	ok = write_all(fd, data, len) && fsync(fd) == 0;
	ok = (close(fd) == 0) && ok;
	ok = ok && link(beside, path) == 0;
	saved = errno;
	unlink(beside);
	free(beside);
	errno = saved;
	return ok && sync_directory_of(path);
}
