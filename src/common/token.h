/*
 * token.h
 *		What the server and the process that holds a PKCS#11 token say to each other.
 *
 * Over standard output, once: a line "ok ROOT" with 64 hexadecimal digits, or
 * "no PROBLEM", or "pin PROBLEM" where trying again could lock the token.  Then, over
 * a socket that keeps messages apart, requests; each comes with a descriptor to
 * which its reply goes.
 *
 * ROOT is what tickets' keys are derived from:
 *		CMAC(key, 01 | label | 00 | 0100) | CMAC(key, 02 | label | 00 | 0100)
 * with AES-256 (NIST SP 800-108r1, counter mode), and names the key by its id like any
 * root key.  Keys are wrapped by AES-256-GCM in the token:
 *		nonce (12) | ciphertext | tag (16)
 */
#ifndef BULWARK_TOKEN_H
#define BULWARK_TOKEN_H

#include "common/common.h"

#define BW_TOKEN_URI_MAX		1024
#define BW_TOKEN_PROBLEM_MAX	200
#define BW_TOKEN_ROOT_LABEL		"bulwark token root v1"

#define BW_TOKEN_TAG_LEN		16
#define BW_TOKEN_TEXT_MAX		2048	/* of a key that is wrapped */
#define BW_TOKEN_WRAPPED_LEN(n)	(BW_GCM_NONCE_LEN + (n) + BW_TOKEN_TAG_LEN)

#define BW_TOKEN_PROTOCOL		1

typedef enum bw_token_operation
{
	BW_TOKEN_WRAP = 'w',
	BW_TOKEN_UNWRAP = 'u'
} bw_token_operation;

typedef enum bw_token_answer
{
	BW_TOKEN_DONE = 'd',
	BW_TOKEN_REFUSED = 'r',		/* it does not open */
	BW_TOKEN_OTHER_KEY = 'o',	/* the process holds another key than was asked for */
	BW_TOKEN_FAILED = 'f'		/* the token does not work; the process ends */
} bw_token_answer;

/* The message's length says how much of text there is. */
typedef struct bw_token_request
{
	uint8_t		protocol;
	uint8_t		operation;
	uint8_t		key_id[BW_ROOT_KEY_ID_LEN];
	uint8_t		ad[BW_SHA256_LEN];
	uint8_t		text[BW_TOKEN_WRAPPED_LEN(BW_TOKEN_TEXT_MAX)];
} bw_token_request;

typedef struct bw_token_reply
{
	uint8_t		answer;
	uint8_t		text[BW_TOKEN_WRAPPED_LEN(BW_TOKEN_TEXT_MAX)];
} bw_token_reply;

#endif							/* BULWARK_TOKEN_H */
