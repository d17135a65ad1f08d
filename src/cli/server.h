/*
 * server.h
 *		A connection to PostgreSQL, with psql's options.
 */
#ifndef BULWARK_SERVER_H
#define BULWARK_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ServerOptions
{
	const char *dbname;			/* or a connection string */
	const char *host;
	const char *port;
	const char *user;
	bool		no_password;	/* never ask */
	bool		password;		/* ask before trying */
} ServerOptions;

/* getopt_long's letters and names, for the options above. */
#define SERVER_LETTERS	"d:h:p:U:wW"
#define SERVER_LONG \
	{"dbname", required_argument, NULL, 'd'}, {"host", required_argument, NULL, 'h'}, \
	{"port", required_argument, NULL, 'p'}, {"username", required_argument, NULL, 'U'}, \
	{"no-password", no_argument, NULL, 'w'}, {"password", no_argument, NULL, 'W'}
#define SERVER_HELP \
	"  -d, --dbname=DBNAME      database, or a connection string\n" \
	"  -h, --host=HOST          server, or the directory of its socket\n" \
	"  -p, --port=PORT          its port\n" \
	"  -U, --username=NAME      user\n" \
	"  -w, --no-password        never ask for a password\n" \
	"  -W, --password           ask for a password\n" \
	"What is not given comes from the environment (PGHOST, PGSERVICE ...), as in psql.\n"

/* false: not one of these letters. */
extern bool server_option(ServerOptions *options, int letter, const char *argument);

typedef struct Server Server;

/* NULL, and a complaint. */
extern Server *server_connect(const ServerOptions *options);
/*
 * The value that a statement returns (one row and column), malloc'd; "" for NULL.
 * NULL, and a complaint, where it fails.  Arguments are text, NULL after the last.
 */
extern char *server_value(Server *server, const char *sql, const char *const *arguments);
/* Begin to read rows of one column. */
extern bool server_begin(Server *server, const char *sql);
/* The next one, which may be changed; NULL at the end, and where *failed is set, with a complaint. */
extern char *server_next(Server *server, size_t *len, bool *failed);
/* "HOST:PORT/DATABASE" for people. */
extern const char *server_name(Server *server);
extern void server_close(Server *server);

#endif							/* BULWARK_SERVER_H */
