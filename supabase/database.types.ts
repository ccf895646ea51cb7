// The tables, enums and functions of videojobs, for supabase-js:
//   createClient<Database>(url, key)
// Generated from the migrations by `python tests/check_sql.py --write-types`. Do not edit.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  
  "public": {
          Tables: {
            "team_members": {
                  Row: {
                    "created_at": string,"role": Database["public"]['Enums']["video_job_team_role"],"team_id": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"role"?: Database["public"]['Enums']["video_job_team_role"],"team_id": string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"role"?: Database["public"]['Enums']["video_job_team_role"],"team_id"?: string,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "team_members_team_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"teams": {
                  Row: {
                    "created_at": string,"id": string,"name": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id"?: string,"name": string
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"name"?: string
                  }
                  Relationships: [
                    
                  ]
                },"video_job_events": {
                  Row: {
                    "actor_id": string | null,"at": string,"data": NonNullable<Json>,"id": number,"job_id": string,"run_token": number | null,"tx": unknown,"type": Database["public"]['Enums']["video_job_event_type"],"worker_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "actor_id"?: string | null,"at"?: string,"data"?: NonNullable<Json>,"id"?: never,"job_id": string,"run_token"?: number | null,"tx"?: unknown,"type": Database["public"]['Enums']["video_job_event_type"],"worker_id"?: string | null
                  }
                  Update: {
                    "actor_id"?: string | null,"at"?: string,"data"?: NonNullable<Json>,"id"?: never,"job_id"?: string,"run_token"?: number | null,"tx"?: unknown,"type"?: Database["public"]['Enums']["video_job_event_type"],"worker_id"?: string | null
                  }
                  Relationships: [
                    
                  ]
                },"video_jobs": {
                  Row: {
                    "attempt": number,"cancel_requested_at": string | null,"cancelled_at": string | null,"clip_count": number | null,"completed_at": string | null,"created_at": string,"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],"error_code": string | null,"error_message": string | null,"id": string,"idempotency_key": string | null,"lost_count": number,"max_attempts": number,"max_runtime_seconds": number | null,"original_filename": string | null,"original_filesize": number | null,"output_files": NonNullable<Json>,"parent_job_id": string | null,"pipeline": string,"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,"priority": number,"processing_time": number | null,"progress": number,"progress_detail": NonNullable<Json>,"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],"queue": string,"resource_id": string | null,"resource_name": string | null,"resource_parent_id": string | null,"resource_type": Database["public"]['Enums']["video_job_resource_type"],"retry_base_seconds": number | null,"retry_cap_seconds": number | null,"run_at": string,"run_token": number,"seq": number,"settings": NonNullable<Json>,"source_url": string | null,"stage": string | null,"started_at": string | null,"status": Database["public"]['Enums']["video_job_status"],"team_id": string | null,"tenant_id": string,"updated_at": string,"user_id": string,"worker_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "attempt"?: number,"cancel_requested_at"?: string | null,"cancelled_at"?: string | null,"clip_count"?: number | null,"completed_at"?: string | null,"created_at"?: string,"enhancement_level"?: Database["public"]['Enums']["video_job_enhancement_level"],"error_code"?: string | null,"error_message"?: string | null,"id"?: string,"idempotency_key"?: string | null,"lost_count"?: number,"max_attempts"?: number,"max_runtime_seconds"?: number | null,"original_filename"?: string | null,"original_filesize"?: number | null,"output_files"?: NonNullable<Json>,"parent_job_id"?: string | null,"pipeline"?: string,"platform_target"?: Database["public"]['Enums']["video_job_platform_target"] | null,"priority"?: number,"processing_time"?: number | null,"progress"?: number,"progress_detail"?: NonNullable<Json>,"quality_preset"?: Database["public"]['Enums']["video_job_quality_preset"],"queue"?: string,"resource_id"?: string | null,"resource_name"?: string | null,"resource_parent_id"?: string | null,"resource_type"?: Database["public"]['Enums']["video_job_resource_type"],"retry_base_seconds"?: number | null,"retry_cap_seconds"?: number | null,"run_at"?: string,"run_token"?: number,"seq"?: never,"settings"?: NonNullable<Json>,"source_url"?: string | null,"stage"?: string | null,"started_at"?: string | null,"status"?: Database["public"]['Enums']["video_job_status"],"team_id"?: string | null,"tenant_id"?: never,"updated_at"?: string,"user_id"?: string,"worker_id"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"cancel_requested_at"?: string | null,"cancelled_at"?: string | null,"clip_count"?: number | null,"completed_at"?: string | null,"created_at"?: string,"enhancement_level"?: Database["public"]['Enums']["video_job_enhancement_level"],"error_code"?: string | null,"error_message"?: string | null,"id"?: string,"idempotency_key"?: string | null,"lost_count"?: number,"max_attempts"?: number,"max_runtime_seconds"?: number | null,"original_filename"?: string | null,"original_filesize"?: number | null,"output_files"?: NonNullable<Json>,"parent_job_id"?: string | null,"pipeline"?: string,"platform_target"?: Database["public"]['Enums']["video_job_platform_target"] | null,"priority"?: number,"processing_time"?: number | null,"progress"?: number,"progress_detail"?: NonNullable<Json>,"quality_preset"?: Database["public"]['Enums']["video_job_quality_preset"],"queue"?: string,"resource_id"?: string | null,"resource_name"?: string | null,"resource_parent_id"?: string | null,"resource_type"?: Database["public"]['Enums']["video_job_resource_type"],"retry_base_seconds"?: number | null,"retry_cap_seconds"?: number | null,"run_at"?: string,"run_token"?: number,"seq"?: never,"settings"?: NonNullable<Json>,"source_url"?: string | null,"stage"?: string | null,"started_at"?: string | null,"status"?: Database["public"]['Enums']["video_job_status"],"team_id"?: string | null,"tenant_id"?: never,"updated_at"?: string,"user_id"?: string,"worker_id"?: string | null
                  }
                  Relationships: [
                    
                  ]
                }
          }
          Views: {
            "archived_video_jobs": {
                  Row: {
                    "archived_at": string,"attempt": number | null,"cancel_requested_at": string | null,"cancelled_at": string | null,"clip_count": number | null,"completed_at": string | null,"created_at": string | null,"ended_at": string,"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"] | null,"error_code": string | null,"error_message": string | null,"id": string | null,"idempotency_key": string | null,"lost_count": number | null,"max_attempts": number | null,"max_runtime_seconds": number | null,"original_filename": string | null,"original_filesize": number | null,"output_files": Json | null,"pipeline": string | null,"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,"priority": number | null,"processing_time": number | null,"progress": number | null,"progress_detail": Json | null,"quality_preset": Database["public"]['Enums']["video_job_quality_preset"] | null,"queue": string | null,"resource_id": string | null,"resource_name": string | null,"resource_parent_id": string | null,"resource_type": Database["public"]['Enums']["video_job_resource_type"] | null,"retry_base_seconds": number | null,"retry_cap_seconds": number | null,"run_at": string | null,"run_token": number | null,"seq": number | null,"settings": Json | null,"source_url": string | null,"stage": string | null,"started_at": string | null,"status": Database["public"]['Enums']["video_job_status"] | null,"team_id": string | null,"tenant_id": string | null,"updated_at": string | null,"user_id": string | null,"worker_id": string | null
                  }
                  ComputedFields: never
                  Relationships: [
                    
                  ]
                }
          }
          Functions: {
            "add_video_job_webhook":
{ Args: { "address": string,"events": (string)[],"id": string,"is_enabled"?: boolean,"kind": string,"pipeline"?: string,"secret": string,"tenant_id"?: string,"url": string }; Returns: {
              "endpoint_id": string
            }[]
                           },
"archive_video_jobs":
{ Args: { "older_than_seconds"?: number,"row_limit"?: number,"statuses"?: (string)[] }; Returns: {
              "archived_id": string
            }[]
                           },
"bulk_update_video_jobs":
{ Args: { "after_created_at"?: string,"after_seq"?: number,"changes": Json,"dry_run"?: boolean,"filter"?: Json,"job_ids"?: (string)[],"row_limit"?: number }; Returns: {
              "created_at": string,"job_id": string,"outcome": string,"seq": number,"status": Database["public"]['Enums']["video_job_status"]
            }[]
                           },
"cancel_video_job":
{ Args: { "job_id": string,"reason"?: string }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"check_video_jobs":
{ Args: Record<PropertyKey, never>; Returns: {
              "expired_leases": number,"is_service": boolean,"leases_without_job": number,"processing": number,"processing_without_lease": number,"queued": number,"schema_version": number,"server_time": string,"server_version": string
            }[]
                           },
"claim_video_job_leftovers":
{ Args: { "row_limit"?: number,"storage": string }; Returns: {
              "is_given_up": boolean,"leftover": string,"tries": number
            }[]
                           },
"claim_video_job_webhooks":
{ Args: { "busy"?: (string)[],"lease_seconds"?: number,"max_attempts"?: number,"per_endpoint"?: number,"row_limit"?: number }; Returns: {
              "address": string,"attempts": number,"claim": string,"endpoint_id": string,"event": string,"id": string,"kind": string,"payload": Json,"secret": string,"url": string
            }[]
                           },
"claim_video_jobs":
{ Args: { "claim_key": string,"hard_limit_seconds"?: number,"job_limit"?: number,"lease_seconds"?: number,"pipelines"?: (string)[],"queues"?: (string)[],"worker": string }; Returns: {
              "checkpoint": Json,"claimed_at": string,"expires_at": string,"hard_deadline": string,"job": Json,"run_token": number,"worker_id": string
            }[]
                           },
"clear_video_jobs":
{ Args: { "filter"?: Json,"finished_before"?: string,"older_than_seconds"?: number,"row_limit"?: number }; Returns: {
              "deleted_id": string
            }[]
                           },
"complete_video_job":
{ Args: { "detail"?: Json,"job_id": string,"output_files"?: Json,"processing_seconds"?: number,"run_token"?: number }; Returns: {
              "job": Json,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"configure_video_jobs":
{ Args: { "changes"?: Json }; Returns: {
              "settings": Json
            }[]
                           },
"confirm_video_job_cancel":
{ Args: { "job_id": string,"run_token": number }; Returns: {
              "job": Json,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"create_video_jobs":
{ Args: { "jobs": Json }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"delete_video_job":
{ Args: { "job_id": string }; Returns: {
              "deleted_id": string
            }[]
                           },
"diagnose_video_jobs":
{ Args: Record<PropertyKey, never>; Returns: {
              "facts": Json
            }[]
                           },
"drain_video_job_worker":
{ Args: { "worker": string }; Returns: {
              "drained": boolean
            }[]
                           },
"fail_video_job":
{ Args: { "detail"?: Json,"error_code"?: string,"error_message"?: string,"job_id": string,"retryable"?: boolean,"run_token"?: number }; Returns: {
              "job": Json,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"find_stuck_video_jobs":
{ Args: { "row_limit"?: number,"running_seconds"?: number }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"get_video_job":
{ Args: { "job_id": string }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"get_video_job_place":
{ Args: { "job_id": string }; Returns: {
              "claimed_at": string,"expires_at": string,"hard_deadline": string,"is_due": boolean,"is_exact": boolean,"jobs_ahead": number,"status": Database["public"]['Enums']["video_job_status"]
            }[]
                           },
"get_video_job_sight":
{ Args: Record<PropertyKey, never>; Returns: {
              "sees_all": boolean,"team_ids": (string)[],"user_id": string
            }[]
                           },
"get_video_job_stats":
{ Args: { "filter"?: Json,"group_by"?: string }; Returns: {
              "average_processing_seconds": number,"by_day": Json,"by_status": Json,"groups": Json,"median_processing_seconds": number,"p95_processing_seconds": number,"total": number,"total_processing_seconds": number
            }[]
                           },
"get_video_job_times":
{ Args: { "days"?: number,"filter"?: Json }; Returns: {
              "day": string,"jobs": number,"median_seconds": number,"p95_seconds": number
            }[]
                           },
"heartbeat_video_jobs":
{ Args: { "beats": Json,"facts"?: Json,"lease_seconds"?: number,"worker"?: string }; Returns: {
              "drain": boolean,"expires_at": string,"job_id": string,"run_token": number,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"list_video_job_events":
{ Args: { "after_id"?: number,"job_id": string,"row_limit"?: number }; Returns: {
              "actor_id": string | null,
"at": string,
"data": NonNullable<Json>,
"id": number,
"job_id": string,
"run_token": number | null,
"tx": unknown,
"type": Database["public"]['Enums']["video_job_event_type"],
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_job_events"
        isOneToOne: false
        isSetofReturn: true
      } },
"list_video_job_teams":
{ Args: { "user_ids": (string)[] }; Returns: {
              "teams": Json
            }[]
                           },
"list_video_job_waits":
{ Args: Record<PropertyKey, never>; Returns: {
              "is_served": boolean,"oldest_due_seconds": number,"pipeline": string,"queue": string
            }[]
                           },
"list_video_job_webhook_deliveries":
{ Args: { "endpoint_id"?: string,"row_limit"?: number,"state"?: string }; Returns: {
              "attempts": number,"created_at": string,"ended_at": string,"endpoint_id": string,"event": string,"id": string,"job_id": string,"last_error": string,"last_status": number,"next_try_at": string,"state": string
            }[]
                           },
"list_video_job_webhooks":
{ Args: Record<PropertyKey, never>; Returns: {
              "address": string,"created_at": string,"dead": number,"events": (string)[],"id": string,"is_enabled": boolean,"kind": string,"pending": number,"pipeline": string,"tenant_id": string
            }[]
                           },
"list_video_job_workers":
{ Args: Record<PropertyKey, never>; Returns: {
              "drain_requested_at": string,"facts": Json,"running": Json,"seen_at": string,"started_at": string,"worker_id": string
            }[]
                           },
"list_video_jobs":
{ Args: { "before_created_at"?: string,"before_seq"?: number,"filter"?: Json,"row_limit"?: number,"row_offset"?: number }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"log_video_job":
{ Args: { "detail"?: Json,"job_id": string,"message": string,"run_token": number }; Returns: {
              "job": Json,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"maintain_video_jobs":
{ Args: { "row_limit"?: number }; Returns: {
              "archived": number,"dropped": Json,"folded": number,"recovered": Json
            }[]
                           },
"probe_video_job_rows":
{ Args: { "row_count": number }; Returns: {
              "number": number
            }[]
                           },
"read_video_job_changes":
{ Args: { "job_ids"?: (string)[],"row_limit"?: number,"running_since"?: string,"since"?: string,"team_ids"?: (string)[],"user_id"?: string }; Returns: {
              "deleted": Json,"feed": string,"jobs": Json,"moment": string,"owners": Json,"place": string,"state": string
            }[]
                           },
"reconcile_video_job_stats":
{ Args: { "repair"?: boolean }; Returns: {
              "bucket": number,"counted": number,"day": string,"measure": string,"pipeline": string,"platform_target": Database["public"]['Enums']["video_job_platform_target"],"queue": string,"summed": number,"team_id": string,"user_id": string
            }[]
                           },
"recover_video_jobs":
{ Args: { "row_limit"?: number }; Returns: {
              "job_id": string,"outcome": Database["public"]['Enums']["video_job_event_type"],"worker_id": string
            }[]
                           },
"release_video_job":
{ Args: { "job_id": string,"run_token": number }; Returns: {
              "job": Json,"verdict": Database["public"]['Enums']["video_job_verdict"]
            }[]
                           },
"remove_video_job_webhook":
{ Args: { "id": string }; Returns: {
              "removed": boolean
            }[]
                           },
"remove_video_job_worker":
{ Args: { "worker": string }; Returns: {
              "removed": boolean
            }[]
                           },
"retry_video_job":
{ Args: { "job_id": string,"retry_key"?: string }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } },
"send_video_job_webhook":
{ Args: { "delivery_id"?: string,"endpoint_id"?: string }; Returns: {
              "id": string
            }[]
                           },
"set_video_job_limit":
{ Args: { "key"?: string,"kind"?: string,"max_running"?: number }; Returns: {
              "limit_key": string,"limit_kind": string,"limit_max_running": number,"running": number
            }[]
                           },
"set_video_job_queue":
{ Args: { "is_fair": boolean,"queue": string }; Returns: {
              "queue_is_fair": boolean,"queue_name": string
            }[]
                           },
"settle_video_job_leftovers":
{ Args: { "prefixes": (string)[] }; Returns: {
              "settled": string
            }[]
                           },
"settle_video_job_webhook":
{ Args: { "claim": string,"error"?: string,"id": string,"is_delivered": boolean,"is_gone"?: boolean,"max_attempts"?: number,"retry_after_seconds"?: number,"status"?: number }; Returns: {
              "state": string
            }[]
                           },
"settle_video_jobs":
{ Args: { "claim"?: Json,"settlements": Json }; Returns: {
              "leased": Json,"settled": Json
            }[]
                           },
"start_video_job":
{ Args: { "claim_key": string,"job_id": string,"lease_seconds"?: number,"worker": string }; Returns: {
              "checkpoint": Json,"claimed_at": string,"expires_at": string,"hard_deadline": string,"job": Json,"run_token": number,"worker_id": string
            }[]
                           },
"update_video_job_status":
{ Args: { "error_code"?: string,"error_message"?: string,"job_id": string,"output_files"?: Json,"progress"?: number,"stage"?: string,"status": Database["public"]['Enums']["video_job_status"],"worker"?: string }; Returns: {
              "attempt": number,
"cancel_requested_at": string | null,
"cancelled_at": string | null,
"clip_count": number | null,
"completed_at": string | null,
"created_at": string,
"enhancement_level": Database["public"]['Enums']["video_job_enhancement_level"],
"error_code": string | null,
"error_message": string | null,
"id": string,
"idempotency_key": string | null,
"lost_count": number,
"max_attempts": number,
"max_runtime_seconds": number | null,
"original_filename": string | null,
"original_filesize": number | null,
"output_files": NonNullable<Json>,
"parent_job_id": string | null,
"pipeline": string,
"platform_target": Database["public"]['Enums']["video_job_platform_target"] | null,
"priority": number,
"processing_time": number | null,
"progress": number,
"progress_detail": NonNullable<Json>,
"quality_preset": Database["public"]['Enums']["video_job_quality_preset"],
"queue": string,
"resource_id": string | null,
"resource_name": string | null,
"resource_parent_id": string | null,
"resource_type": Database["public"]['Enums']["video_job_resource_type"],
"retry_base_seconds": number | null,
"retry_cap_seconds": number | null,
"run_at": string,
"run_token": number,
"seq": number,
"settings": NonNullable<Json>,
"source_url": string | null,
"stage": string | null,
"started_at": string | null,
"status": Database["public"]['Enums']["video_job_status"],
"team_id": string | null,
"tenant_id": string,
"updated_at": string,
"user_id": string,
"worker_id": string | null
            }[]
                          SetofOptions: {
        from: "*"
        to: "video_jobs"
        isOneToOne: false
        isSetofReturn: true
      } }
          }
          Enums: {
            "video_job_enhancement_level": "none"|"basic"|"advanced","video_job_event_type": "created"|"claimed"|"completed"|"retried"|"released"|"rescued"|"failed"|"lost"|"cancel_requested"|"cancelled"|"requeued"|"changed"|"logged","video_job_platform_target": "tiktok"|"instagram"|"youtube_shorts","video_job_quality_preset": "draft"|"standard"|"pro","video_job_resource_type": "upload"|"film"|"episode","video_job_status": "queued"|"processing"|"completed"|"failed"|"cancelled","video_job_team_role": "member"|"admin","video_job_verdict": "ok"|"cancel_requested"|"final"|"lost"
          }
          CompositeTypes: {
            [_ in never]: never
          }
        }
}

type DatabaseWithoutInternals = Omit<Database, '__InternalSupabase'>

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
  ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
      Row: infer R
    }
    ? R
    : never
  : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Insert: infer I
    }
    ? I
    : never
  : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Update: infer U
    }
    ? U
    : never
  : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
  ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
  : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
  ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
  : never

export const Constants = {
  "public": {
          Enums: {
            "video_job_enhancement_level": ["none", "basic", "advanced"],"video_job_event_type": ["created", "claimed", "completed", "retried", "released", "rescued", "failed", "lost", "cancel_requested", "cancelled", "requeued", "changed", "logged"],"video_job_platform_target": ["tiktok", "instagram", "youtube_shorts"],"video_job_quality_preset": ["draft", "standard", "pro"],"video_job_resource_type": ["upload", "film", "episode"],"video_job_status": ["queued", "processing", "completed", "failed", "cancelled"],"video_job_team_role": ["member", "admin"],"video_job_verdict": ["ok", "cancel_requested", "final", "lost"]
          }
        }
} as const
