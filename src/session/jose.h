/*
 * jose.h
 *		Private to this room: how a token is taken apart (jose.c, which also
 *		compiles outside the server, for fuzzing), the keys that verify it
 *		(jwk.c), its signature (jws.c), and the issuers (issuer.c).
 */
#ifndef BULWARK_JOSE_H
#define BULWARK_JOSE_H

#include "base/compat.h"

#define JOSE_MAX_TOKEN		16384	/* bytes */
#define JOSE_MAX_DEPTH		16		/* of JSON objects and arrays */
#define JOSE_MAX_KID		255		/* bytes */

/* --- jose.c: parsing; every function returns NULL, or the cause of refusal -- */

/* The three segments of a compact JWS, decoded. */
typedef struct JoseParts
{
	const char *input;			/* what is signed: header "." payload, encoded */
	size_t		input_len;
	const uint8 *header;
	size_t		header_len;
	const uint8 *payload;
	size_t		payload_len;
	const uint8 *signature;
	size_t		signature_len;
} JoseParts;

/* buffer: room for the decoded segments, JOSE_MAX_TOKEN bytes are enough */
extern const char *JoseSplit(const char *token, size_t len,
							 uint8 *buffer, JoseParts *parts);

typedef enum JoseType
{
	JOSE_NULL,
	JOSE_BOOLEAN,
	JOSE_NUMBER,
	JOSE_STRING,
	JOSE_STRINGS,				/* an array of nothing but strings */
	JOSE_ARRAY,					/* any other array */
	JOSE_OBJECT
} JoseType;

typedef struct JoseMember
{
	const char *name;
	JoseType	type;
	const char *text;			/* string, unescaped; number as it is written */
	int			nitems;			/* JOSE_STRINGS */
	const char **items;
} JoseMember;

typedef struct JoseObject
{
	int			nmembers;
	JoseMember *members;
} JoseObject;

/*
 * Parse a JSON object strictly: valid UTF-8 without NUL, JOSE_MAX_DEPTH, no name
 * twice in any object at any level (compared unescaped), numbers that fit a
 * double.  ascii: refuse other characters, for a database whose encoding could
 * not hold them.  Allocates with palloc; errors leave nothing but memory.
 */
extern const char *JoseParse(const char *json, size_t len, bool ascii,
							 JoseObject *object);
extern const JoseMember *JoseGet(const JoseObject *object, const char *name);

/* Does a string, or one element of an array of strings, equal the value? */
extern bool JoseHas(const JoseMember *member, const char *value);

/* A NumericDate: a JSON number from 1970 to the end of 9999, in seconds. */
extern bool JoseDate(const JoseMember *member, double *seconds);

/* A number written as a canonical decimal integer: no fraction, exponent, -0. */
extern bool JoseIsInteger(const JoseMember *member);

/* Equal media types: case-insensitive, with or without "application/". */
extern bool JoseTypEqual(const char *a, const char *b);

typedef enum JwsFamily
{
	JWS_RSA,					/* RSASSA-PKCS1-v1_5 */
	JWS_PSS,					/* RSASSA-PSS, salt as long as the digest */
	JWS_ECDSA,
	JWS_EDDSA,
	JWS_HMAC
} JwsFamily;

typedef struct JwsAlgorithm
{
	const char *name;
	uint32		bit;			/* in a set of algorithms */
	JwsFamily	family;
	const char *digest;			/* OpenSSL's name; NULL for EdDSA */
	const char *curve;			/* ECDSA: the only one that fits */
	int			coordinate_len; /* ECDSA: bytes of r and of s */
} JwsAlgorithm;

#define JWS_ALGORITHMS	13
extern const JwsAlgorithm jws_algorithms[JWS_ALGORITHMS];
extern const JwsAlgorithm *JwsAlgorithmByName(const char *name);

typedef struct JoseHeader
{
	const JwsAlgorithm *algorithm;
	const char *kid;			/* NULL: absent */
	const char *typ;			/* NULL: absent */
} JoseHeader;

/* The protected header: what is in it that we follow, nothing that we must not. */
extern const char *JoseHeaderParse(const uint8 *json, size_t len, bool ascii,
								   JoseHeader *header);

#ifndef FRONTEND
#include "common/common.h"
#include "lib/ilist.h"
#include "session/session.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include <openssl/evp.h>

/* --- jwk.c ------------------------------------------------------------------ */

#define JWK_SECRET_MIN		32		/* bytes of a symmetric key */
#define JWK_SECRET_MAX		1024

/* A key that verifies.  Freed with the memory context that it was made in. */
typedef struct JwkKey
{
	char	   *kid;			/* NULL: none */
	uint32		algorithms;		/* those that it may be used with */
	uint8		thumbprint[BW_SHA256_LEN];	/* RFC 7638 */
	EVP_PKEY   *pkey;			/* NULL: symmetric */
	uint8	   *secret;			/* symmetric, wiped */
	Size		secret_len;
	const Jsonb *jwk;			/* what it was made from */
	uint8		proof[ISSUER_KEY_LEN];	/* an issuer's: names it in tickets */
} JwkKey;

/*
 * The key, or NULL when it is not for verifying any of the algorithms.  secret:
 * the bytes of a symmetric key, NULL to take its member k.  22023 when it is
 * broken, weak or private.
 */
extern JwkKey *JwkParse(Jsonb *jwk, uint32 algorithms,
						const uint8 *secret, Size secret_len);

/* The keys of a JWK or a JWK Set that JwkParse takes; 22023 also for two keys
 * with one kid, and for a key that is there twice. */
extern List *JwkSetParse(Jsonb *jwks, uint32 algorithms);

/* {"EdDSA", "ES256"} as a set; 22023 for an unknown name, NULL or no name. */
extern uint32 JwsAlgorithmSet(ArrayType *names);

/* --- jws.c ------------------------------------------------------------------ */

/* The key that the header selects, when its signature verifies; else RefuseToken. */
extern const JwkKey *JwsVerify(const JoseParts *parts, const JoseHeader *header,
							   List *keys, uint32 algorithms);

/* Is the database's encoding one that cannot hold every character of a token? */
extern bool JoseAsciiOnly(void);

/* --- issuer.c: administration; issuer_cache.c: what verifying reads --------- */

#define ISSUER_NAME_MAX		1024	/* bytes of iss and of aud */
#define CLAIM_NAME_MAX		255
typedef struct Issuer
{
	dlist_node	node;
	pg_uuid_t	id;
	char	   *name;
	char	   *audience;
	uint32		algorithms;
	char	   *tenant_claim;
	char	   *subject_claim;
	char	   *tenant_claim_is;
	int			ntenants;		/* -1: any */
	pg_uuid_t  *tenants;
	int			ntyps;			/* 0: the usual ones */
	char	  **typs;
	Jsonb	   *required_claims;	/* NULL: none */
	double		max_lifetime;	/* seconds */
	char	   *scope_claim;	/* NULL: none */
	bool		id_tokens;
	List	   *keys;			/* JwkKey * */
} Issuer;

/* Months of 30 days, as PostgreSQL compares intervals. */
extern double IntervalSeconds(const Interval *interval);

/* The issuer of that name, or NULL.  Valid until the next call. */
extern const Issuer *IssuerByName(const char *name);

/* What a symmetric key is wrapped for: no other issuer's row opens it. */
#define ISSUER_WRAP_CONTEXT(issuer)	psprintf("bulwark issuer secret: %s", (issuer))

#endif							/* !FRONTEND */

#endif							/* BULWARK_JOSE_H */
