"""LLVM code of drivers that is the same but for names: loops over tables, and members.

See `driver`. What is in braces is filled in; doubled ones are LLVM's.
"""

NOTHING = "nothing"

STARTED = "(i64 %threads, ptr %kernel, i64 %rows, i64 %chunks, ptr %words) nounwind"

ROWS_OF_MEMBER = "i64 %lo, i64 %hi, i64 %chunk"

PRODUCT = f"""
define internal void @NAME({ROWS_OF_MEMBER}, ptr %at) nounwind {{{{
  call void @{{name}}(i64 %lo, i64 %hi, ptr %at)
  ret void
}}}}"""

PREPARE = """
define internal void @NAME(i64 %threads, ptr %at) nounwind {{
  %w = getelementptr i64, ptr %at, i64 {words}
  call void @graphc_prepare_{letter}(ptr %w, ptr %at)
{pack}  ret void
}}"""

CALLS = """\
  %table_end = getelementptr i64, ptr @{table}, i64 {length}
  br label %head
head:
  %call = phi ptr [ @{table}, %entry ], [ %call_next, %body ]
  %more = icmp ult ptr %call, %table_end
  br i1 %more, label %body, label %done
body:
  %which = load i64, ptr %call
  %function_at = getelementptr ptr, ptr @{functions}, i64 %which
  %function = load ptr, ptr %function_at
  %place_at = getelementptr i64, ptr %call, i64 1
  %place = load i64, ptr %place_at
  %at = getelementptr i64, ptr %words, i64 %place
  call void %function({given}, ptr %at)
  %call_next = getelementptr i64, ptr %call, i64 2
  br label %head
done:"""

LOOP = """
@table = internal constant [{length} x i64] [{table}]
@functions = internal constant [{count} x ptr] [{functions}]

define internal i64 @number(ptr %frame, ptr %at) nounwind {{
  %word = load i64, ptr %at
  %from = getelementptr i64, ptr %frame, i64 %word
  %base = load i64, ptr %from
  %addend_at = getelementptr i64, ptr %at, i64 1
  %addend = load i64, ptr %addend_at
  %sum = add i64 %base, %addend
  ret i64 %sum
}}

define internal ptr @function(ptr %at) nounwind {{
  %which = load i64, ptr %at
  %from = getelementptr ptr, ptr @functions, i64 %which
  %function = load ptr, ptr %from
  ret ptr %function
}}

define internal void @steps(ptr %frame, ptr %arguments) nounwind {{
entry:
  %threads_at = getelementptr i64, ptr %frame, i64 {threads}
  %threads = load i64, ptr %threads_at
  %end = getelementptr i64, ptr @table, i64 {length}
  br label %head
head:
  %step = phi ptr [ @table, %entry ], [ %at, %launch ]
  %more = icmp ult ptr %step, %end
  br i1 %more, label %begin, label %done
begin:
  %start = call ptr @function(ptr %step)
  %kernel_at = getelementptr i64, ptr %step, i64 1
  %kernel = call ptr @function(ptr %kernel_at)
  %count_at = getelementptr i64, ptr %step, i64 2
  %count = load i64, ptr %count_at
  %rows_at = getelementptr i64, ptr %step, i64 3
  %rows = call i64 @number(ptr %frame, ptr %rows_at)
  %chunks_at = getelementptr i64, ptr %step, i64 5
  %chunks = call i64 @number(ptr %frame, ptr %chunks_at)
  %first = getelementptr i64, ptr %step, i64 7
  br label %argument
argument:
  %i = phi i64 [ 0, %begin ], [ %i_next, %put ]
  %at = phi ptr [ %first, %begin ], [ %at_next, %put ]
  %left = icmp slt i64 %i, %count
  br i1 %left, label %put, label %launch
put:
  %value = call i64 @number(ptr %frame, ptr %at)
  %to = getelementptr i64, ptr %arguments, i64 %i
  store i64 %value, ptr %to
  %i_next = add i64 %i, 1
  %at_next = getelementptr i64, ptr %at, i64 2
  br label %argument
launch:
  call void %start(i64 %threads, ptr %kernel, i64 %rows, i64 %chunks, ptr %arguments)
  br label %head
done:
  ret void
}}
"""
