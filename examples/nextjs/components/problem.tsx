import type { ReactNode } from 'react';

/** What went wrong, read out at once; nothing if nothing did. */
export function Problem({ children }: { children: ReactNode }) {
  return children ? (
    <p className="problem" role="alert">
      {children}
    </p>
  ) : null;
}
