"""Tests on each supported Python, checks and the documentation: ``nox``, ``nox -s lint``,
``nox -s tests-3.12 -- -m slow``."""

import nox

nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


@nox.session(python=['3.10', '3.11', '3.12'])
def tests(session: nox.Session) -> None:
    """Run the tests with the locked versions; what follows ``--`` goes to pytest."""
    install_and_test(session, '--require-hashes', '--only-binary', ':all:', '-r', 'requirements/lock.txt')


@nox.session(python=['3.10', '3.11', '3.12'], reuse_venv=False, default=False)
def newest(session: nox.Session) -> None:
    """Run the tests with the newest versions of all dependencies: ``nox -s newest``."""
    install_and_test(session, '-r', 'requirements.txt')


def install_and_test(session: nox.Session, *requirements: str) -> None:
    session.install(*requirements)
    session.install('--no-deps', '--no-build-isolation', '-e', '.')
    session.run('python', '-m', 'pytest', *session.posargs, env=dict(OMP_NUM_THREADS='1'))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and spelling."""
    session.install('ruff', 'codespell')
    session.run('ruff', 'check', '.')
    session.run('ruff', 'format', '--check', '.')
    session.run('codespell')


@nox.session
def types(session: nox.Session) -> None:
    """Type hints of the public API."""
    session.install('mypy')
    session.run('mypy')


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site; a warning is an error."""
    session.install('-r', 'requirements/docs.txt')
    session.run('mkdocs', 'build', '--strict')
