"""A mail server for tests: TLS from the first byte on, a password, and a Maildir. Nobody is called `nobody` there."""

import argparse
import asyncio
import os
import ssl

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Letters(Mailbox):
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def main():
    parser = argparse.ArgumentParser()
    for name in ["--port", "--certificate", "--key", "--user", "--maildir"]:
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    good = LoginPassword(options.user.encode(), os.environ["MAIL_PASSWORD"].encode())
    letters = Letters(options.maildir)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(options.certificate, options.key)

    def sign_in(server, session, envelope, mechanism, given):
        return AuthResult(success=given == good, handled=False)

    def talk():
        # The line is secured before the first word, which the library does not count as TLS of its own.
        return SMTP(letters, authenticator=sign_in, auth_required=True, auth_require_tls=False)

    async def serve():
        server = await asyncio.get_running_loop().create_server(talk, "127.0.0.1", int(options.port), ssl=tls)
        await server.serve_forever()

    asyncio.run(serve())


main()
