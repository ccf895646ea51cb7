'use server';

import { apiUrl } from '@/lib/settings';

export type Outcome = { jobId: string } | { problem: string };

/**
 * Hands an upload to the Python API, which stores it and creates the job.
 *
 * The form's `access_token` says as whom. It is no argument of its own, since `next dev` prints those.
 */
export async function processVideo(form: FormData): Promise<Outcome> {
  const url = apiUrl('/api/v1/process');
  const accessToken = form.get('access_token');
  form.delete('access_token');
  const response = await fetch(url, {
    method: 'POST',
    headers: { Authorization: `Bearer ${accessToken}` },
    body: form,
  }).catch(() => null);
  if (!response) return { problem: `${url.origin} does not answer. Is \`videojobs serve\` running?` };

  const body = await response.json().catch(() => ({}));
  if (response.ok) return { jobId: body.id };
  return { problem: body.detail ?? body.title ?? `The API answered ${response.status}.` };
}
