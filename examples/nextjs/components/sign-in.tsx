import { useMutation } from '@tanstack/react-query';
import type { FormEvent } from 'react';
import type { Door } from '@/lib/session';
import { Problem } from './problem';

export function SignIn({ door, local }: { door: Door; local: boolean }) {
  const { mutate, error, isPending } = useMutation({ mutationFn: door.signIn });

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    mutate(new FormData(event.currentTarget));
  }

  return (
    <article className="narrow">
      <h1>Video jobs</h1>
      <form onSubmit={submit}>
        {local ? (
          <label>
            Development token
            <textarea name="token" required rows={4} spellCheck={false} autoComplete="off" />
            <small>
              <code>videojobs local token aaaaaaaa-0000-4000-8000-000000000001</code> prints one,
              good for an hour. Any UUID is a user.
            </small>
          </label>
        ) : (
          <>
            <label>
              E-mail
              <input name="email" type="email" required autoComplete="username" />
            </label>
            <label>
              Password
              <input name="password" type="password" required autoComplete="current-password" />
            </label>
          </>
        )}
        <Problem>{error?.message}</Problem>
        <button type="submit" aria-busy={isPending} disabled={isPending}>
          Sign in
        </button>
      </form>
    </article>
  );
}
