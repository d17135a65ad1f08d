/*
 * token.c
 *		An AES-256 key in a PKCS#11 token (2.40 and later), which does the work.
 *
 * The module is the vendor's code: it may print, hang or crash, and so runs in a
 * process of ours that does nothing else.  Nothing is linked; the header declares
 * what the module gives.
 */
#include "token.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS_MAX	64
#define AES_BITS	256
#define MAC_LEN		16			/* of AES-CMAC */

struct Token
{
	void	   *library;
	CK_FUNCTION_LIST_PTR f;		/* NULL until initialized */
	CK_SLOT_ID	slot;
	CK_TOKEN_INFO info;
	CK_SESSION_HANDLE session;	/* CK_INVALID_HANDLE until open */
	CK_OBJECT_HANDLE key;
};

/* --- saying what is wrong ----------------------------------------------------------- */

static const struct
{
	CK_RV		code;
	const char *name;
}			names[] = {
	{CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR"},
	{CKR_FUNCTION_FAILED, "CKR_FUNCTION_FAILED"},
	{CKR_FUNCTION_NOT_SUPPORTED, "CKR_FUNCTION_NOT_SUPPORTED"},
	{CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR"},
	{CKR_DEVICE_REMOVED, "CKR_DEVICE_REMOVED"},
	{CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT"},
	{CKR_SESSION_COUNT, "CKR_SESSION_COUNT"},
	{CKR_SESSION_HANDLE_INVALID, "CKR_SESSION_HANDLE_INVALID"},
	{CKR_USER_NOT_LOGGED_IN, "CKR_USER_NOT_LOGGED_IN"},
	{CKR_USER_PIN_NOT_INITIALIZED, "CKR_USER_PIN_NOT_INITIALIZED"},
	{CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT"},
	{CKR_PIN_INVALID, "CKR_PIN_INVALID"},
	{CKR_PIN_LEN_RANGE, "CKR_PIN_LEN_RANGE"},
	{CKR_PIN_EXPIRED, "CKR_PIN_EXPIRED"},
	{CKR_PIN_LOCKED, "CKR_PIN_LOCKED"},
	{CKR_MECHANISM_INVALID, "CKR_MECHANISM_INVALID"},
	{CKR_MECHANISM_PARAM_INVALID, "CKR_MECHANISM_PARAM_INVALID"},
	{CKR_KEY_FUNCTION_NOT_PERMITTED, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
	{CKR_KEY_HANDLE_INVALID, "CKR_KEY_HANDLE_INVALID"},
	{CKR_OBJECT_HANDLE_INVALID, "CKR_OBJECT_HANDLE_INVALID"},
	{CKR_TOKEN_WRITE_PROTECTED, "CKR_TOKEN_WRITE_PROTECTED"},
	{CKR_CRYPTOKI_NOT_INITIALIZED, "CKR_CRYPTOKI_NOT_INITIALIZED"},
	{CKR_HOST_MEMORY, "CKR_HOST_MEMORY"},
	{CKR_DEVICE_MEMORY, "CKR_DEVICE_MEMORY"}
};

/* False, for a return. */
static bool
failed(const char *what, CK_RV rv, char *problem)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].code == rv)
		{
			snprintf(problem, BW_TOKEN_PROBLEM_MAX, "%s: %s", what, names[i].name);
			return false;
		}
	snprintf(problem, BW_TOKEN_PROBLEM_MAX, "%s: PKCS#11 error 0x%lx", what, (unsigned long) rv);
	return false;
}

static bool
pin_at_fault(CK_RV rv)
{
	return rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE ||
		rv == CKR_PIN_EXPIRED || rv == CKR_PIN_LOCKED;
}

/* --- the module and the token ----------------------------------------------------------- */

static bool
load_module(Token *token, const char *path, char *problem)
{
	CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
	CK_C_GetFunctionList get_list;
	CK_FUNCTION_LIST_PTR list = NULL;
	CK_RV		rv;

	token->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (token->library == NULL)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "could not load the module: %s", dlerror());
		return false;
	}
	*(void **) &get_list = dlsym(token->library, "C_GetFunctionList");
	if (get_list == NULL || get_list(&list) != CKR_OK || list == NULL || list->version.major < 2)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "\"%.100s\" is not a PKCS#11 module", path);
		return false;
	}
	rv = list->C_Initialize(&arguments);
	if (rv != CKR_OK)
		return failed("the module does not start", rv, problem);
	token->f = list;
	return true;
}

/* A field of the token's description, padded with blanks (by some with zeroes). */
static bool
field_is(const unsigned char *field, size_t len, const char *wanted)
{
	if (wanted[0] == '\0')
		return true;
	while (len > 0 && (field[len - 1] == ' ' || field[len - 1] == '\0'))
		len--;
	return strlen(wanted) == len && memcmp(field, wanted, len) == 0;
}

static bool
is_wanted(const CK_TOKEN_INFO *info, const TokenUri *uri)
{
	return (info->flags & CKF_TOKEN_INITIALIZED) != 0 &&
		field_is(info->label, sizeof(info->label), uri->token) &&
		field_is(info->manufacturerID, sizeof(info->manufacturerID), uri->manufacturer) &&
		field_is(info->model, sizeof(info->model), uri->model) &&
		field_is(info->serialNumber, sizeof(info->serialNumber), uri->serial);
}

static bool
find_token(Token *token, const TokenUri *uri, char *problem)
{
	CK_SLOT_ID	slots[SLOTS_MAX];
	CK_ULONG	count = SLOTS_MAX;
	int			found = 0;
	CK_RV		rv = token->f->C_GetSlotList(CK_TRUE, slots, &count);

	if (rv != CKR_OK)
		return failed("the module does not list its tokens", rv, problem);
	for (CK_ULONG i = 0; i < count; i++)
	{
		CK_TOKEN_INFO info;

		if (token->f->C_GetTokenInfo(slots[i], &info) != CKR_OK || !is_wanted(&info, uri))
			continue;
		token->slot = slots[i];
		token->info = info;
		found++;
	}
	if (found == 1)
		return true;
	snprintf(problem, BW_TOKEN_PROBLEM_MAX, "%s \"%.64s\"", found == 0 ? "there is no token" : "more than one token is",
			 uri->token[0] != '\0' ? uri->token : uri->serial);
	return false;
}

/* One try, and never the last that the token allows. */
static TokenFault
log_in(Token *token, const TokenUri *uri, char *problem)
{
	CK_FLAGS	flags = token->info.flags;
	char		pin[PIN_MAX + 1];
	long		len;
	CK_RV		rv;

	if (uri->pin_source[0] == '\0')
	{
		if ((flags & CKF_LOGIN_REQUIRED) == 0)
			return TOKEN_FINE;
		strcpy(problem, "the token needs a PIN, and the URI has no pin-source");
		return TOKEN_BROKEN;
	}
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		strcpy(problem, "the token's PIN is locked");
	else if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		strcpy(problem, "the token allows one more try of its PIN, which is left to a person");
	else if ((flags & CKF_USER_PIN_INITIALIZED) == 0)
		strcpy(problem, "the token's PIN has not been set");
	else
		flags = 0;
	if (flags != 0)
		return TOKEN_PIN_REFUSED;

	len = pin_read(uri->pin_source, pin, problem);
	if (len < 0)
		return TOKEN_BROKEN;
	rv = token->f->C_Login(token->session, CKU_USER, (CK_UTF8CHAR_PTR) pin, (CK_ULONG) len);
	bw_wipe(pin, sizeof(pin));
	if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
		return TOKEN_FINE;
	(void) failed("the token refuses the PIN", rv, problem);
	return pin_at_fault(rv) ? TOKEN_PIN_REFUSED : TOKEN_BROKEN;
}

TokenFault
token_open(const TokenUri *uri, bool writable, Token **result, char problem[BW_TOKEN_PROBLEM_MAX])
{
	CK_FLAGS	flags = CKF_SERIAL_SESSION | (writable ? CKF_RW_SESSION : 0);
	Token	   *token = calloc(1, sizeof(Token));
	CK_RV		rv;

	*result = token;
	if (token == NULL)
	{
		strcpy(problem, "out of memory");
		return TOKEN_BROKEN;
	}
	token->session = CK_INVALID_HANDLE;
	if (!load_module(token, uri->module_path, problem) || !find_token(token, uri, problem))
		return TOKEN_BROKEN;
	rv = token->f->C_OpenSession(token->slot, flags, NULL, NULL, &token->session);
	if (rv != CKR_OK)
	{
		token->session = CK_INVALID_HANDLE;
		(void) failed("the token opens no session", rv, problem);
		return TOKEN_BROKEN;
	}
	return log_in(token, uri, problem);
}

/* The module stays loaded: some leave threads behind that would run into nothing. */
void
token_close(Token *token)
{
	if (token == NULL)
		return;
	if (token->f != NULL)
	{
		if (token->session != CK_INVALID_HANDLE)
			(void) token->f->C_CloseSession(token->session);
		(void) token->f->C_Finalize(NULL);
	}
	free(token);
}

/* --- the key -------------------------------------------------------------------------------- */

/* What names the key in the token: class, token object, label and id; returns how many. */
static CK_ULONG
name_of_key(const TokenUri *uri, CK_ATTRIBUTE template[4])
{
	static CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	static CK_BBOOL yes = CK_TRUE;
	CK_ULONG	n = 0;

	template[n++] = (CK_ATTRIBUTE) {CKA_CLASS, &class, sizeof(class)};
	template[n++] = (CK_ATTRIBUTE) {CKA_TOKEN, &yes, sizeof(yes)};
	if (uri->object[0] != '\0')
		template[n++] = (CK_ATTRIBUTE) {CKA_LABEL, (void *) uri->object, strlen(uri->object)};
	if (uri->id_len > 0)
		template[n++] = (CK_ATTRIBUTE) {CKA_ID, (void *) uri->id, uri->id_len};
	return n;
}

static const char *
key_name(const TokenUri *uri)
{
	return uri->object[0] != '\0' ? uri->object : "with the id given";
}

/* How many keys of that name there are, 2 standing for more; -1 and the problem. */
static int
search_key(Token *token, const TokenUri *uri, char *problem)
{
	CK_ATTRIBUTE template[4];
	CK_ULONG	n = name_of_key(uri, template);
	CK_OBJECT_HANDLE found[2];
	CK_ULONG	count = 0;
	CK_RV		rv = token->f->C_FindObjectsInit(token->session, template, n);

	if (rv == CKR_OK)
	{
		rv = token->f->C_FindObjects(token->session, found, 2, &count);
		(void) token->f->C_FindObjectsFinal(token->session);
	}
	if (rv != CKR_OK)
	{
		(void) failed("the token does not look for the key", rv, problem);
		return -1;
	}
	if (count > 0)
		token->key = found[0];
	return (int) count;
}

/* May it be the root key: AES-256, usable as we use it, and by nobody to be taken out? */
static bool
key_acceptable(Token *token, const TokenUri *uri, char *problem)
{
	CK_KEY_TYPE type = 0;
	CK_ULONG	len = 0;
	CK_BBOOL	sensitive = CK_FALSE,
				extractable = CK_TRUE,
				private = CK_FALSE,
				encrypts = CK_FALSE,
				decrypts = CK_FALSE,
				signs = CK_FALSE;
	CK_ATTRIBUTE wanted[] = {
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_VALUE_LEN, &len, sizeof(len)},
		{CKA_SENSITIVE, &sensitive, sizeof(sensitive)},
		{CKA_EXTRACTABLE, &extractable, sizeof(extractable)},
		{CKA_PRIVATE, &private, sizeof(private)},
		{CKA_ENCRYPT, &encrypts, sizeof(encrypts)},
		{CKA_DECRYPT, &decrypts, sizeof(decrypts)},
		{CKA_SIGN, &signs, sizeof(signs)}
	};
	const char *fault = NULL;
	CK_RV		rv = token->f->C_GetAttributeValue(token->session, token->key, wanted, sizeof(wanted) / sizeof(wanted[0]));

	if (rv != CKR_OK)
		return failed("the token does not describe the key", rv, problem);
	if (type != CKK_AES || len != AES_BITS / 8)
		fault = "is not an AES key of 256 bits";
	else if (extractable != CK_FALSE || sensitive != CK_TRUE)
		fault = "can be taken out of the token (it must be sensitive and not extractable)";
	else if (private != CK_TRUE)
		fault = "can be used without the PIN (it must be private)";
	else if (encrypts != CK_TRUE || decrypts != CK_TRUE || signs != CK_TRUE)
		fault = "may not encrypt, decrypt and sign";
	if (fault == NULL)
		return true;
	snprintf(problem, BW_TOKEN_PROBLEM_MAX, "key \"%.64s\" %s", key_name(uri), fault);
	return false;
}

bool
token_find_key(Token *token, const TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX])
{
	int			found = search_key(token, uri, problem);

	if (found < 0)
		return false;
	if (found != 1)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the token has %s \"%.64s\"", found == 0 ? "no secret key" : "more than one secret key",
				 key_name(uri));
		return false;
	}
	return key_acceptable(token, uri, problem) && token_works(token, problem);
}

bool
token_make_key(Token *token, const TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX])
{
	static CK_KEY_TYPE type = CKK_AES;
	static CK_ULONG len = AES_BITS / 8;
	static CK_BBOOL yes = CK_TRUE;
	static CK_BBOOL no = CK_FALSE;
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE template[20];
	CK_ULONG	n = name_of_key(uri, template);
	uint8_t		root[BW_ROOT_KEY_LEN];
	int			found = search_key(token, uri, problem);
	CK_RV		rv;

	if (found < 0)
		return false;
	if (found > 0)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the token has a secret key \"%.64s\" already", key_name(uri));
		return false;
	}
	template[n++] = (CK_ATTRIBUTE) {CKA_KEY_TYPE, &type, sizeof(type)};
	template[n++] = (CK_ATTRIBUTE) {CKA_VALUE_LEN, &len, sizeof(len)};
	template[n++] = (CK_ATTRIBUTE) {CKA_PRIVATE, &yes, sizeof(yes)};
	template[n++] = (CK_ATTRIBUTE) {CKA_SENSITIVE, &yes, sizeof(yes)};
	template[n++] = (CK_ATTRIBUTE) {CKA_EXTRACTABLE, &no, sizeof(no)};
	template[n++] = (CK_ATTRIBUTE) {CKA_ENCRYPT, &yes, sizeof(yes)};
	template[n++] = (CK_ATTRIBUTE) {CKA_DECRYPT, &yes, sizeof(yes)};
	template[n++] = (CK_ATTRIBUTE) {CKA_SIGN, &yes, sizeof(yes)};
	template[n++] = (CK_ATTRIBUTE) {CKA_WRAP, &no, sizeof(no)};
	template[n++] = (CK_ATTRIBUTE) {CKA_UNWRAP, &no, sizeof(no)};
	template[n++] = (CK_ATTRIBUTE) {CKA_DERIVE, &no, sizeof(no)};
	rv = token->f->C_GenerateKey(token->session, &mechanism, template, n, &token->key);
	if (rv != CKR_OK)
		return failed("the token makes no key", rv, problem);
	if (key_acceptable(token, uri, problem) && token_works(token, problem) && token_root(token, root, problem))
	{
		bw_wipe(root, sizeof(root));
		return true;
	}
	(void) token->f->C_DestroyObject(token->session, token->key);
	return false;
}

/* --- what the key does ------------------------------------------------------------------------- */

bool
token_root(Token *token, uint8_t root[BW_ROOT_KEY_LEN], char problem[BW_TOKEN_PROBLEM_MAX])
{
	static const char label[] = BW_TOKEN_ROOT_LABEL;
	CK_MECHANISM mechanism = {CKM_AES_CMAC, NULL, 0};
	uint8_t		input[1 + sizeof(label) + 2];	/* the label's zero byte is the separator */

	memcpy(input + 1, label, sizeof(label));
	input[1 + sizeof(label)] = (8 * BW_ROOT_KEY_LEN) >> 8;
	input[2 + sizeof(label)] = (8 * BW_ROOT_KEY_LEN) & 0xff;
	for (int i = 0; i < BW_ROOT_KEY_LEN / MAC_LEN; i++)
	{
		CK_ULONG	len = MAC_LEN;
		CK_RV		rv = token->f->C_SignInit(token->session, &mechanism, token->key);

		input[0] = (uint8_t) (i + 1);
		if (rv == CKR_OK)
			rv = token->f->C_Sign(token->session, input, sizeof(input), root + i * MAC_LEN, &len);
		if (rv != CKR_OK || len != MAC_LEN)
		{
			bw_wipe(root, BW_ROOT_KEY_LEN);
			return failed("the token does not compute AES-CMAC", rv, problem);
		}
	}
	return true;
}

static CK_RV
wrap(Token *token, const uint8_t *ad, const uint8_t *text, size_t len, uint8_t *out)
{
	uint8_t		nonce[BW_GCM_NONCE_LEN];
	CK_GCM_PARAMS parameters = {nonce, sizeof(nonce), 8 * sizeof(nonce), (void *) ad, BW_SHA256_LEN, 8 * BW_TOKEN_TAG_LEN};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof(parameters)};
	CK_ULONG	sealed_len = len + BW_TOKEN_TAG_LEN;
	CK_RV		rv;

	if (!bw_random(nonce, sizeof(nonce)))
		return CKR_FUNCTION_FAILED;
	rv = token->f->C_EncryptInit(token->session, &mechanism, token->key);
	if (rv == CKR_OK)
		rv = token->f->C_Encrypt(token->session, (CK_BYTE_PTR) text, len, out + sizeof(nonce), &sealed_len);
	if (rv == CKR_OK && sealed_len != len + BW_TOKEN_TAG_LEN)
		rv = CKR_FUNCTION_FAILED;
	memcpy(out, nonce, sizeof(nonce));	/* a token may have chosen its own, and says so here */
	return rv;
}

static CK_RV
unwrap(Token *token, const uint8_t *ad, const uint8_t *wrapped, size_t wrapped_len, uint8_t *out)
{
	CK_GCM_PARAMS parameters = {(void *) wrapped, BW_GCM_NONCE_LEN, 8 * BW_GCM_NONCE_LEN, (void *) ad, BW_SHA256_LEN, 8 * BW_TOKEN_TAG_LEN};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof(parameters)};
	CK_ULONG	len = wrapped_len;
	CK_RV		rv = token->f->C_DecryptInit(token->session, &mechanism, token->key);

	if (rv == CKR_OK)
		rv = token->f->C_Decrypt(token->session, (CK_BYTE_PTR) wrapped + BW_GCM_NONCE_LEN, wrapped_len - BW_GCM_NONCE_LEN, out, &len);
	if (rv == CKR_OK && len != wrapped_len - BW_TOKEN_WRAPPED_LEN(0))
		rv = CKR_FUNCTION_FAILED;
	if (rv != CKR_OK)
		bw_wipe(out, wrapped_len);
	return rv;
}

bool
token_wrap(Token *token, const uint8_t ad[BW_SHA256_LEN], const uint8_t *text, size_t len, uint8_t *out)
{
	return wrap(token, ad, text, len, out) == CKR_OK;
}

bool
token_unwrap(Token *token, const uint8_t ad[BW_SHA256_LEN], const uint8_t *wrapped, size_t wrapped_len, uint8_t *out)
{
	return wrapped_len >= BW_TOKEN_WRAPPED_LEN(0) && unwrap(token, ad, wrapped, wrapped_len, out) == CKR_OK;
}

/*
 * What was wrapped is unwrapped, with fresh nonces, and not under other associated
 * data or with a bit changed: modules are known that skip one or the other.
 */
bool
token_works(Token *token, char problem[BW_TOKEN_PROBLEM_MAX])
{
	uint8_t		text[BW_SHA256_LEN];
	uint8_t		ad[BW_SHA256_LEN] = {0};
	uint8_t		wrapped[2][BW_TOKEN_WRAPPED_LEN(sizeof(text))];
	uint8_t		again[sizeof(wrapped[0])];
	CK_RV		rv = CKR_OK;
	const char *fault = NULL;

	if (!bw_random(text, sizeof(text)))
	{
		strcpy(problem, "the system has no random numbers");
		return false;
	}
	for (int i = 0; i < 2 && rv == CKR_OK; i++)
		rv = wrap(token, ad, text, sizeof(text), wrapped[i]);
	if (rv != CKR_OK)
		return failed("the token does not encrypt with AES-GCM", rv, problem);
	rv = unwrap(token, ad, wrapped[0], sizeof(wrapped[0]), again);
	if (rv != CKR_OK)
		return failed("the token does not decrypt with AES-GCM", rv, problem);

	if (memcmp(text, again, sizeof(text)) != 0)
		fault = "does not decrypt what it has encrypted";
	else if (memcmp(wrapped[0], wrapped[1], BW_GCM_NONCE_LEN) == 0 || memcmp(wrapped[0], wrapped[1], sizeof(wrapped[0])) == 0)
		fault = "uses a nonce twice";
	ad[0] ^= 1;
	if (fault == NULL && unwrap(token, ad, wrapped[0], sizeof(wrapped[0]), again) == CKR_OK)
		fault = "does not authenticate associated data";
	ad[0] ^= 1;
	wrapped[0][BW_GCM_NONCE_LEN] ^= 1;
	if (fault == NULL && unwrap(token, ad, wrapped[0], sizeof(wrapped[0]), again) == CKR_OK)
		fault = "does not check the tag";
	if (fault == NULL)
		return true;
	snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the token's AES-GCM %s", fault);
	return false;
}
