/*
 * server.c
 *		A connection to PostgreSQL: the one file that knows libpq.
 */
#include "server.h"

#include "cli.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

#define MAX_ARGUMENTS 4

struct Server
{
	PGconn	   *conn;
	PGresult   *row;			/* of server_next */
	char	   *name;
};

bool
server_option(ServerOptions *options, int letter, const char *argument)
{
	switch (letter)
	{
		case 'd':
			options->dbname = argument;
			return true;
		case 'h':
			options->host = argument;
			return true;
		case 'p':
			options->port = argument;
			return true;
		case 'U':
			options->user = argument;
			return true;
		case 'w':
			options->no_password = true;
			return true;
		case 'W':
			options->password = true;
			return true;
	}
	return false;
}

/* PostgreSQL's messages end with a newline, ours do not. */
static void
complain_pq(const char *what, const char *message)
{
	size_t		len = strlen(message);

	while (len > 0 && message[len - 1] == '\n')
		len--;
	complain("%s%.*s", what, (int) len, message);
}

/* From the terminal, without showing it; NULL without one. */
static char *
ask_password(void)
{
	static char password[1024];
	FILE	   *terminal = fopen("/dev/tty", "w+e");
	struct termios before,
				hidden;
	bool		ok;

	if (terminal == NULL)
		return NULL;
	if (tcgetattr(fileno(terminal), &before) != 0)
	{
		fclose(terminal);
		return NULL;
	}
	hidden = before;
	hidden.c_lflag &= ~(tcflag_t) ECHO;
	tcsetattr(fileno(terminal), TCSAFLUSH, &hidden);
	fputs("Password: ", terminal);
	fflush(terminal);
	ok = fgets(password, sizeof(password), terminal) != NULL;
	tcsetattr(fileno(terminal), TCSAFLUSH, &before);
	fputc('\n', terminal);
	fclose(terminal);
	if (!ok)
		return NULL;
	password[strcspn(password, "\r\n")] = '\0';
	return password;
}

static PGconn *
try_connect(const ServerOptions *options, const char *password)
{
	const char *const keywords[] = {
		"host", "port", "user", "password", "dbname", "client_encoding", "fallback_application_name", NULL
	};
	/* bytes as they are: the ledger's text is UTF-8 whatever the database's encoding is */
	const char *const values[] = {
		options->host, options->port, options->user, password, options->dbname, "SQL_ASCII", "bulwarkctl", NULL
	};

	return PQconnectdbParams(keywords, values, 1);
}

Server *
server_connect(const ServerOptions *options)
{
	Server	   *server = calloc(1, sizeof(Server));
	char	   *password = options->password ? ask_password() : NULL;
	size_t		len;

	if (server == NULL)
		return NULL;
	server->conn = try_connect(options, password);
	if (PQstatus(server->conn) == CONNECTION_BAD && PQconnectionNeedsPassword(server->conn) &&
		password == NULL && !options->no_password && (password = ask_password()) != NULL)
	{
		PQfinish(server->conn);
		server->conn = try_connect(options, password);
	}
	if (password != NULL)
		explicit_bzero(password, strlen(password));
	if (PQstatus(server->conn) != CONNECTION_OK)
	{
		complain_pq("", PQerrorMessage(server->conn));
		server_close(server);
		return NULL;
	}
	PQclear(PQexec(server->conn, "SELECT pg_catalog.set_config('search_path', '', false)"));
	len = strlen(PQhost(server->conn)) + strlen(PQport(server->conn)) + strlen(PQdb(server->conn)) + 3;
	server->name = malloc(len);
	if (server->name != NULL)
		snprintf(server->name, len, "%s:%s/%s", PQhost(server->conn), PQport(server->conn), PQdb(server->conn));
	return server;
}

char *
server_value(Server *server, const char *sql, const char *const *arguments)
{
	int			n = 0;
	PGresult   *result;
	char	   *value = NULL;

	while (arguments != NULL && arguments[n] != NULL && n < MAX_ARGUMENTS)
		n++;
	result = PQexecParams(server->conn, sql, n, NULL, arguments, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
		value = strdup("");
	else if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		value = strdup(PQgetvalue(result, 0, 0));
	else
		complain_pq("", PQresultErrorMessage(result));
	PQclear(result);
	return value;
}

bool
server_begin(Server *server, const char *sql)
{
	if (PQsendQuery(server->conn, sql) && PQsetSingleRowMode(server->conn))
		return true;
	complain_pq("", PQerrorMessage(server->conn));
	return false;
}

char *
server_next(Server *server, size_t *len, bool *failed)
{
	PQclear(server->row);
	server->row = PQgetResult(server->conn);
	if (PQresultStatus(server->row) == PGRES_SINGLE_TUPLE)
	{
		*len = (size_t) PQgetlength(server->row, 0, 0);
		return PQgetvalue(server->row, 0, 0);
	}
	*failed = PQresultStatus(server->row) != PGRES_TUPLES_OK;
	if (*failed)
		complain_pq("", PQresultErrorMessage(server->row));
	PQclear(server->row);
	while ((server->row = PQgetResult(server->conn)) != NULL)
		PQclear(server->row);
	return NULL;
}

const char *
server_name(Server *server)
{
	return server->name != NULL ? server->name : "the server";
}

void
server_close(Server *server)
{
	PQclear(server->row);
	PQfinish(server->conn);
	free(server->name);
	free(server);
}
