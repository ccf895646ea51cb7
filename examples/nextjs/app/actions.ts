'use server';

import { apiUrl } from '@/lib/settings';

export type Outcome = { jobId: string } | { problem: string };

/**
 * Hands an upload to the Python API, which stores it and creates the job.
 *
 * The form also holds `access_token` and `idempotency_key`, which go into headers. They are no
 * arguments of their own, since `next dev` prints those.
 */
export async function processVideo(form: FormData): Promise<Outcome> {
  const headers = {
    Authorization: `Bearer ${form.get('access_token')}`,
    'Idempotency-Key': String(form.get('idempotency_key')),
  };
  form.delete('access_token');
  form.delete('idempotency_key');

  const url = apiUrl('/api/v1/process');
  const response = await fetch(url, { method: 'POST', headers, body: form }).catch(() => null);
  if (!response) return { problem: `${url.origin} does not answer. Is \`videojobs serve\` running?` };
  const body = await response.json().catch(() => ({})); // a VideoJob, or a problem (RFC 9457)
  if (response.ok) return { jobId: body.id };
  return { problem: body.detail ?? body.title ?? `The API answered ${response.status}.` };
}
