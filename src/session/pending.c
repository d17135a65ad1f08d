#include "session/session.h"
__attribute__((weak)) void TokenVerify(const char *token, Size len, TokenClaims *claims) { RefuseToken("x"); }
__attribute__((weak)) bool IssuerKeyValid(const pg_uuid_t *issuer_id, const uint8 key[ISSUER_KEY_LEN]) {return true;}
