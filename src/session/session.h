/*
 * session.h
 *		Identity: how it is proved, what is in force, and what reads it.
 */
#ifndef BULWARK_SESSION_H
#define BULWARK_SESSION_H

#include "base/base.h"
#include "nodes/nodes.h"

#define SCOPE_MAX		1024	/* bytes of a token's scope claim */
#define ISSUER_KEY_LEN	32		/* names a key of an issuer, as long as it stays */

typedef enum ProofKind
{
	PROOF_TOKEN = 1,
	PROOF_ASSUMED = 2
} ProofKind;

/* What a proof establishes.  Plain data: copied, MACed and carried as it is. */
typedef struct Identity
{
	pg_uuid_t	principal_id;
	int64		principal_generation;
	pg_uuid_t	tenant_id;
	int64		member_generation;
	ProofKind	proof;
	pg_uuid_t	issuer_id;		/* PROOF_TOKEN */
	uint8		issuer_key[ISSUER_KEY_LEN];
	char		assumed_by[NAMEDATALEN];	/* PROOF_ASSUMED: the login */
	TimestampTz proved_at;
	TimestampTz expires_at;		/* end of this proof or ticket */
	TimestampTz absolute_end;	/* end of the first proof; re-issuing never moves it */
	bool		scoped;			/* scope narrows the permissions */
	char		scope[SCOPE_MAX + 1];
} Identity;

/*
 * The tenancy room registers how an identity is checked.  resolve() returns
 * the membership in force (opaque to this room, owned and cached by tenancy)
 * or NULL when there is none: principal unknown, disabled or of another
 * generation, tenant suspended, no membership, another generation, pinned to
 * another tenant.  It reads with the latest snapshot and never raises for
 * those causes.  The answer holds until the next IdentityBump().
 */
typedef struct MembershipOps
{
	const void *(*resolve) (const Identity *identity);
	/* Find the principal linked to (iss, sub); false if none. Fills principal_id. */
	bool		(*find_subject) (const char *issuer, const char *subject, Identity *identity);
	/* The tenant named by a claim (how: slug, key or id); false if none.
	 * value NULL: the principal's only membership's tenant. Fills tenant_id. */
	bool		(*find_tenant) (const char *how, const char *value, Identity *identity);
	/* Fill the generations of principal and membership; false if the principal is
	 * disabled or has no membership in that tenant. Wants the scope set. */
	bool		(*load_generations) (Identity *identity);
	/* May this service login (impersonator, secrets) act in that tenant? */
	bool		(*service_allows) (Oid login, const pg_uuid_t *tenant_id);
	/* e-mail, tenant slug, role names for identity(); palloc'd */
	void		(*describe) (const Identity *identity, const void *membership,
							 char **email, char **tenant_slug, List **roles);
} MembershipOps;
extern void MembershipRegister(const MembershipOps *ops);
extern const MembershipOps *MembershipOperations(void);

/* The identity in force, its membership and a counter that changes whenever
 * either may have; memoise on the counter. */
typedef struct EffectiveIdentity
{
	Identity	identity;
	const void *membership;
} EffectiveIdentity;

extern uint64 IdentityEpoch;			/* bump with IdentityBump() */
extern uint64 identity_checked_epoch;	/* private to IdentityCurrent */
extern const EffectiveIdentity *identity_effective;
extern const EffectiveIdentity *IdentityRefresh(void);

#define IdentityBump()	(IdentityEpoch++)

/*
 * The identity in force, or NULL.  Never raises.  Reading none inside a running
 * statement forbids getting one later in that statement.
 */
static inline const EffectiveIdentity *
IdentityCurrent(void)
{
	if (likely(identity_checked_epoch == IdentityEpoch && identity_effective != NULL))
		return identity_effective;
	return IdentityRefresh();
}

/* The same without counting as reading: for hooks that only ask. */
extern const EffectiveIdentity *IdentityPeek(void);

/* The identity that this transaction has had, in force still or not; NULL: none.
 * Looks at nothing but memory, so that it serves while an error is handled. */
extern const Identity *IdentityOfTransaction(void);

/* Set a proved identity for this transaction (or the session); 55000 when the
 * transaction had another, or a running statement has already read none. */
extern void IdentitySet(const Identity *identity, bool is_local);

/* Drop it, for the transaction and the session. */
extern void IdentityRelease(void);

/* Has this session ever had an identity?  (residue rules) */
extern bool IdentityEverSet(void);

/* Is the call an expression of the SELECT that the client itself sent (and not of a
 * function that it called), in autocommit? */
extern bool CalledInAutocommit(FunctionCallInfo fcinfo);
/* Such a statement is committed before the next of a pipeline, which would else be of the
 * same transaction. */
extern void CommitAtOnce(void);

/* How it was proved, for people: token, assumed. */
extern const char *ProofName(const Identity *identity);

/* Depth of running statements: 0 at top level between statements. */
extern int	StatementDepth(void);

/* issuer.c: does the issuer still exist and hold that key? (ticket validity) */
extern bool IssuerKeyValid(const pg_uuid_t *issuer_id, const uint8 key[ISSUER_KEY_LEN]);

/* One message for every cause of a refused token or ticket; the cause (never
 * the token) goes to the server log. */
BW_NORETURN extern void RefuseToken(const char *cause);

/*
 * token.c: verify a JWT against the registered issuers and fill what it
 * proves: issuer, subject, tenant claim, times, scope.  Raises 28000.
 */
typedef struct TokenClaims
{
	char	   *issuer;
	char	   *subject;
	char	   *tenant_how;		/* slug, key or id */
	char	   *tenant;			/* NULL: claim absent */
	pg_uuid_t	issuer_id;
	uint8		issuer_key[ISSUER_KEY_LEN];
	TimestampTz expires_at;
	bool		scoped;
	char	   *scope;
	int			ntenants;		/* issuer speaks for these only; -1: any */
	pg_uuid_t  *tenants;
} TokenClaims;
extern void TokenVerify(const char *token, Size len, TokenClaims *claims);

/* ticket.c */
extern char *TicketIssue(const Identity *identity);	/* palloc'd text; 55000 without a key */
/* NULL when genuine, else the cause for the log; 55000 without a root key. */
extern const char *TicketOpen(const char *ticket, Identity *identity);

/* annotate.c: what the application asserts about the request, or NULL */
typedef struct Annotation
{
	char	   *route;			/* each may be NULL */
	char	   *request_id;
	char	   *client_addr;
	char	   *metadata;		/* JSON text */
} Annotation;
extern const Annotation *AnnotationCurrent(void);
/* What another back end's transaction was annotated with, until the next call,
 * for the worker that writes its entries; NULL: nothing. */
extern void AnnotationLend(const Annotation *lent);

/* live.c: slots in shared memory, one a back end */
typedef struct LiveIdentity
{
	int			pid;
	Oid			database;
	Identity	identity;
} LiveIdentity;
extern void SlotPublish(const Identity *identity);	/* NULL: nobody */
extern bool SlotOfLeader(Identity *identity);	/* parallel workers */
extern List *LiveIdentities(void);	/* LiveIdentity *, this database */
extern void LiveInit(void);

/* identity.c: the pieces of its start-up, and of what it reads */
extern void TicketInit(void);
extern void AnnotateInit(void);
extern void IssuerInit(void);
extern void IssuerCacheInit(void);
extern void StandbyInit(void);
extern bool StandbyIsFresh(void);

/* residue.c: an identity leaves nothing in the session */
extern void ResidueInit(void);

/*
 * setting.c: may an application login change this setting for the session, here
 * and now?  The setting that would wrongly outlive this transaction, or NULL.
 */
extern bool SettingIsBound(const char *name);
extern const char *SettingSurvivor(void);
extern void SettingTransactionEnd(void);
extern void SettingInit(void);

/*
 * hide.c: no log line and no view shows a ticket or a token.  HideSecrets
 * overwrites each in text, in place and at the same length, and says whether
 * there was any.
 */
extern bool HideSecrets(char *text);
extern void HideInit(void);

/*
 * constant.c: statements that name a function which takes plaintexts, by these
 * names.  Their constants are shown nowhere.
 */
extern void HideConstantsOf(const char *const *names, int n);
/* Overwrite in a message what a statement has behind the first of these names, as words and in double quotes. */
extern void HideWordsOf(char *message, const char *statement);
/* Overwrite all that is behind the first of these names. */
extern void HideBehindWord(char *text);
/* Does it execute a prepared statement? */
extern bool NamesExecute(const char *text);
/* The first of these names in text; NULL: none. */
extern const char *FindHiddenWord(const char *text);
/*
 * Overwrite every string in text, and numbers from there on (NULL: none).  What is in
 * double quotes is a name, input that is hidden too, or a statement to be read on.
 */
typedef enum QuotedIs
{
	QUOTED_NAME, QUOTED_INPUT, QUOTED_STATEMENT,
	QUOTED_TWICE				/* a name; the text is a field of CSV, its quotes are doubled */
} QuotedIs;
/* In a string that does not begin with E. */
typedef enum Backslash
{
	BACKSLASH_PLAIN, BACKSLASH_ESCAPES, BACKSLASH_UNSURE
} Backslash;
extern void HideConstants(char *text, const char *numbers_from, QuotedIs quoted, Backslash backslash);
/* Of a whole statement, which gets shorter: its constants, how long they were, and comments. */
extern void HideValues(char *text);
/*
 * If nothing in text says any more that its constants are hidden, for all of it was
 * one (the body of DO), let a hidden piece of it say so.
 */
extern void HideKeepName(char *text);
/* If text is a line of pgaudit: its statement's constants, and its parameters. */
extern void HideAuditLine(char *text);

/*
 * introspection.c: what an application login may ask the server about its work.
 * A statement begins with IntrospectionBegin().
 */
#define DETAIL_COUNTS_ROWS	"It counts rows of other tenants."
extern bool IntrospectionRefused(void);
BW_NORETURN extern void RefuseIntrospection(const char *what, const char *detail);
extern void IntrospectionBegin(void);
extern void IntrospectionInit(void);

extern void SessionInit(void);

#endif							/* BULWARK_SESSION_H */
