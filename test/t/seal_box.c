/*
 * seal_box.c
 *		Seals what it reads as a client does, for tests in Perl: hexadecimal digits of
 *		a tenant's public key and of what goes into the box come in, the box's go out.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define BOX_MAX 4096

int
main(int argc, char **argv)
{
	unsigned char key[crypto_box_PUBLICKEYBYTES];
	unsigned char inside[BOX_MAX];
	unsigned char box[BOX_MAX + crypto_box_SEALBYTES];
	char		hex[2 * sizeof(box) + 1];
	size_t		keylen;
	size_t		len;

	if (argc != 3 || sodium_init() < 0 ||
		sodium_hex2bin(key, sizeof(key), argv[1], strlen(argv[1]), NULL, &keylen, NULL) != 0 || keylen != sizeof(key) ||
		sodium_hex2bin(inside, sizeof(inside), argv[2], strlen(argv[2]), NULL, &len, NULL) != 0 ||
		crypto_box_seal(box, inside, len, key) != 0)
	{
		fprintf(stderr, "seal_box: usage: seal_box PUBLIC_KEY INSIDE\n");
		return 1;
	}
	puts(sodium_bin2hex(hex, sizeof(hex), box, len + crypto_box_SEALBYTES));
	return 0;
}
